"""`isc check` and `check_family`: a sound model passes, a broken fine-tune is told what breaks."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

import isc
from isc import testing
from isc.cli import main
from isc.formats.deepseek_r1 import DeepSeekR1
from isc.formats.deepseek_v3_1 import DeepSeekV31
from isc.formats.gpt_oss import GptOss
from isc.formats.qwen3 import Qwen3
from isc.testing import Conversation, Shape
from isc.testing.conformance import CheckReport, Named, Outcome, check_model
from tokenizer_files import qwen3_file

SPECIALS = Qwen3().specials
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A fine-tune with a plain ChatML template of its own."""
    (tmp_path / "tokenizer.json").write_text(qwen3_file(), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}', encoding="utf-8")
    (tmp_path / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    return tmp_path


def outcomes(report: CheckReport) -> dict[str, Outcome]:
    return {outcome.check: outcome for outcome in report.outcomes}


def checked(model: Path, family: isc.Family | None = None) -> CheckReport:
    return check_model(str(model), family, lambda shape: testing.built_in(plain(shape), 12), tools=False)


def plain(shape: Shape) -> Shape:
    """Chats that ChatML alone can tell: no reasoning, no calls."""
    return msgspec.structs.replace(shape, reasoning=False, tools=False)


def test_a_sound_template_of_its_own_holds(model: Path) -> None:
    report = checked(model)
    assert report.holds, [outcome for outcome in report.outcomes if outcome.status == "fail"]
    assert report.family.endswith("by its own template")
    assert outcomes(report)["text parity"].tried == 12


STRICT = (
    "<s>{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_arguments_as_json_text_are_no_fault_of_a_template_that_wants_objects(model: Path) -> None:
    calling = "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    chatml = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}" + calling + "<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    (model / "chat_template.jinja").write_text(chatml, encoding="utf-8")
    call = {"id": "call_0000", "type": "function", "function": {"name": "f", "arguments": '{"a": "b"}'}}
    talk: list[dict[str, Any]] = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "r", "tool_call_id": "call_0000", "name": "f"},
    ]
    report = check_model(str(model), None, lambda _: [("wire form", (talk, None))])
    statuses = {name: outcome.status for name, outcome in outcomes(report).items()}
    assert statuses["arguments are given as they are"] == "info"
    assert (statuses["text parity"], statuses["id parity"]) == ("pass", "pass")
    assert statuses["sampling starts where the prompt ends"] == statuses["bridges are fresh renders"] == "pass"


def test_texts_in_a_list_are_no_fault_of_a_template_that_shows_one_text(model: Path) -> None:
    shown = "{{ m.content if m.content is string }}"
    chatml = (
        f"{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{shown}<|im_end|>\n{{% endfor %}}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    (model / "chat_template.jinja").write_text(chatml, encoding="utf-8")
    asked: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]}]
    named: list[Named] = [("parts", (asked, None)), ("text", ([{"role": "user", "content": "ab"}], None))]
    report = check_model(str(model), isc.Qwen3(), lambda _: named, planted=False)
    found = outcomes(report)
    assert (found["texts are given as they are"].status, found["texts are given as they are"].found) == ("info", 1)
    assert {found[name].status for name in ("text parity", "id parity", "attribution parity")} == {"pass"}
    (model / "chat_template.jinja").write_text(chatml.replace("user", "human").replace(shown, "?"), encoding="utf-8")
    assert outcomes(check_model(str(model), isc.Qwen3(), lambda _: named, planted=False))["text parity"].found == 4


def test_a_template_with_strict_alternation_is_tried_on_conversations_that_it_takes(model: Path) -> None:
    (model / "chat_template.jinja").write_text(STRICT, encoding="utf-8")
    family = isc.load(model).family
    assert family.shape.alternates
    assert family.shape.roles == ("user", "assistant")
    report = check_model(str(model), None, lambda shape: testing.built_in(shape, 12))
    assert report.holds, [outcome for outcome in report.outcomes if outcome.status == "fail"]
    rendered = outcomes(report)["conversations are rendered"]
    assert (rendered.status, rendered.tried, rendered.found) == ("pass", 12, 0)


def _built_in(count: int, shape: testing.Shape) -> list[Named]:
    return list(testing.built_in(shape, count)) if count else []


def test_a_template_that_takes_nothing_fails_and_no_law_holds(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ raise_exception('never') }}", encoding="utf-8")
    for count in (0, 5):
        report = check_model(str(model), None, partial(_built_in, count))
        assert not report.holds
        assert outcomes(report)["conversations are rendered"].status == "fail"
        assert {outcome.status for outcome in report.outcomes[1:]} == {"skipped"}


def test_a_template_without_a_close_is_told_its_stops_are_untrained(model: Path) -> None:
    text = CHATML.replace("{{ message.content }}<|im_end|>", "{{ message.content }}")
    (model / "chat_template.jinja").write_text(text, encoding="utf-8")
    report = checked(model)
    assert not report.holds
    assert outcomes(report)["stops are trained"].status == "fail"


def test_a_template_that_drops_answers_is_told_its_masks_are_empty(model: Path) -> None:
    text = CHATML.replace(
        "<|im_start|>{{ message.role }}",
        "{% if message.role == 'assistant' %}{% continue %}{% endif %}<|im_start|>{{ message.role }}",
    )
    (model / "chat_template.jinja").write_text(text, encoding="utf-8")
    assert outcomes(checked(model))["masks are not empty"].status == "fail"


def test_a_family_that_is_not_the_template_s_fails_text_parity(model: Path) -> None:
    (model / "chat_template.jinja").write_text(CHATML.replace("<|im_end|>\n", "<|im_end|>"), encoding="utf-8")
    report = checked(model, Qwen3(variant="instruct_2507"))
    assert outcomes(report)["text parity"].status == "fail"
    assert "at character" in outcomes(report)["text parity"].findings[0].detail


def test_a_rewritten_history_is_told_and_is_no_failure(reference: Path, model: Path) -> None:
    source = reference / "templates" / "Qwen--Qwen3-8B" / "chat_template.jinja"
    (model / "chat_template.jinja").write_bytes(source.read_bytes())
    report = check_model(str(model), None, lambda shape: testing.built_in(shape, 30))
    assert report.holds
    assert report.family.endswith("as qwen3")
    found = outcomes(report)["prefix stability"]
    assert found.status == "info"
    assert "appending message" in found.findings[0].detail
    assert outcomes(report)["attribution parity"].status == "pass"


def test_the_template_s_clock_tells_the_day_that_the_family_is_set_to(reference: Path, tmp_path: Path) -> None:
    for file in (
        *reference.glob("tokenizers/gpt-oss/*.json"),
        *reference.glob("templates/openai--gpt-oss-20b/*.jinja"),
    ):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [200002, 199999, 200012]}', encoding="utf-8")
    report = checked(tmp_path, GptOss(conversation_start_date="2024-02-29"))
    assert report.holds
    assert {outcomes(report)[name].status for name in ("text parity", "attribution parity")} == {"pass"}
    assert outcomes(report)["stops are trained"].status == "info"  # only the last answer ends at a stop


def test_a_model_without_a_template_is_checked_by_its_family_alone(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    report = checked(model, Qwen3())
    assert report.holds
    assert outcomes(report)["text parity"].status == "skipped"


def test_check_family_holds_for_a_sound_family() -> None:
    report = testing.check_family(Qwen3(), testing.adversarial_encoder(SPECIALS), count=5)
    assert report.holds
    assert outcomes(report)["conversations are rendered"].tried == 5


class Leaky(Qwen3, frozen=True, tag="leaky"):
    """A family that takes what a user says for its own wording."""

    def turn(self, chat: isc.Chat, index: int) -> list[isc.Segment]:
        """Scans bodies for specials."""
        segments = super().turn(chat, index)
        return [piece for s in segments for piece in (_spelled(s.text) if s.kind == "text" else [s])]


def _spelled(text: str) -> list[isc.Segment]:
    from isc.formats.segments import spelled

    return list(spelled(text, SPECIALS))


def test_check_family_tells_what_is_wrong_with_a_family() -> None:
    report = testing.check_family(Leaky(), testing.adversarial_encoder(SPECIALS), count=20)
    assert not report.holds
    found = outcomes(report)["forgery: strings that spell every special"]
    assert found.status == "fail"
    assert "a special was forged" in found.findings[0].detail


def test_shape_is_what_the_family_takes() -> None:
    shape = testing.shape_of(Qwen3())
    assert shape.roles == ("system", "user", "assistant", "tool")
    assert not shape.system_first
    assert not shape.needs_query
    assert shape.offers_tools
    assert not shape.calls_alone
    no_tools = testing.shape_of(DeepSeekR1())
    assert not no_tools.offers_tools
    assert no_tools.calls_alone
    assert not testing.shape_of(DeepSeekV31()).calls_alone


def test_command_prints_a_table_and_exits_zero(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "more.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n', encoding="utf-8")
    assert main(["check", str(model), str(model / "more.jsonl"), "--built-in-count", "3", "--without-tools"]) == 0
    printed = capsys.readouterr().out
    assert "text parity" in printed
    assert "everything holds" in printed
    assert "pass: holds; fail: does not; info: no failure, but notable; skipped: not tried\n" in printed


def test_only_the_given_files_are_tried(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ['{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}]}'] * 2
    (model / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert main(["check", str(model), str(model / "mine.jsonl"), "--only-files", "--json"]) == 0
    report = msgspec.json.decode(capsys.readouterr().out, type=CheckReport)
    assert {outcome.tried for outcome in report.outcomes if outcome.status != "skipped"} == {1, 2}
    assert {"text parity", "what is sampled"} <= {outcome.check for outcome in report.outcomes if outcome.tried == 2}
    assert main(["check", str(model), "--only-files"]) == 2
    assert "name the files" in capsys.readouterr().err


def test_a_finding_is_said_in_words(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "chat_template.jinja").write_text(CHATML.replace("content }}", "content | upper | truncate(20) }}"))
    assert main(["check", str(model), "--built-in-count", "8"]) == 1
    printed = capsys.readouterr().out
    assert "the next role's marker is not the turn's close" in printed
    assert "scaffold '<|im_start|>' + scaffold 'assistant" in " ".join(printed.split())
    assert not re.search(r"Segment\(|Run\(|Chat\(|Message\(", printed)


def test_command_exits_one_where_something_fails(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CHATML.replace("{{ message.content }}<|im_end|>", "{{ message.content }}")
    (model / "chat_template.jinja").write_text(text, encoding="utf-8")
    assert main(["check", str(model), "--json"]) == 1
    report = msgspec.json.decode(capsys.readouterr().out, type=CheckReport)
    assert "stops are trained" in {outcome.check for outcome in report.outcomes if outcome.status == "fail"}


def test_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path)]) == 2
    assert "has no tokenizer.json" in capsys.readouterr().err


def test_built_in_conversations_are_always_the_same() -> None:
    first, second = (list(testing.built_in(Shape(), 5)) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


def test_examples_are_tried_by_name() -> None:
    example: Conversation = ([{"role": "bot", "content": "x"}], None)
    report = testing.check_family(Qwen3(), testing.adversarial_encoder(SPECIALS), examples=[example], count=2)
    (finding,) = outcomes(report)["conversations are rendered"].findings
    assert finding.conversation == "example 0"
    assert "messages[0].role" in finding.detail


def test_other_commands_take_a_traced_model(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
    target = tmp_path / "out.jsonl"
    assert main(["build", str(source), "-o", str(target), "--model", str(model), "--loss", "assistant"]) == 0
    row = json.loads(target.read_text(encoding="utf-8"))
    assert sum(label != -100 for label in row["labels"]) == 2  # what was said, and its close
    assert main(["show", str(source), "--model", str(model)]) == 0
    assert "assistant" in capsys.readouterr().out
