"""`TracedTemplate` as a family value: owners, bodies, prompts, what is inferred, parsing, and agreement with Qwen3."""
# ruff: noqa: E501 - a template is one line here

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import isc
from cases import CASES, Case
from golden_conversations import CONVERSATIONS
from isc import convert
from isc.conversation.renderer import stream
from isc.encoding.encoders import embedded
from isc.encoding.fold import fold
from isc.formats.base import Family
from isc.testing.strategies import Writer
from isc.traced.template import LostPiece, TemplateError, TracedTemplate
from isc.types import Segment
from references import as_the_template_takes_it
from small_templates import CHATML, USER, template
from tokenizer_files import qwen3_file


def test_a_value_is_immutable_hashable_picklable_and_equal_by_value() -> None:
    first, second = (
        template(CHATML, enable_thinking=False, nested={"a": [1]}),
        template(CHATML, nested={"a": [1]}, enable_thinking=False),
    )
    assert isinstance(first, Family)
    assert first == second
    assert hash(first) == hash(second)
    assert pickle.loads(pickle.dumps(first)) == first
    assert first != template(CHATML)
    assert first.options == {"enable_thinking": False, "nested": {"a": [1]}}
    with pytest.raises(AttributeError, match="immutable"):
        first.now = "x"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="immutable"):
        del first.format


def test_other_options_make_another_template() -> None:
    reading = CHATML + "{{ nested }}{% set own = 1 %}{{ own }}{% macro f(x) %}{{ x }}{% endmacro %}{{ range(2) }}"
    first = template(reading, enable_thinking=False, nested=[1])
    assert first.with_options({"nested": [2]}) == template(reading, enable_thinking=False, nested=[2])
    assert first.with_options({}) == first
    assert first.options["nested"] == [1]
    assert first.known_options == ("nested",)
    with pytest.raises(isc.OptionError, match="there is no option 'nestd', only nested; did you mean 'nested'"):
        first.with_options({"nestd": [2]})
    for decoded in (msgspec.json.decode(msgspec.json.encode(first), type=TracedTemplate), replace(first)):
        assert decoded == first
    with pytest.raises(isc.TemplateError, match="cannot be compiled"):
        replace(first, format=replace(first.format, source="{% if %}"))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("Qwen--Qwen3-8B", {"enable_thinking"}),
        ("openai--gpt-oss-20b", {"reasoning_effort", "model_identity", "builtin_tools"}),
        (
            "meta-llama--Llama-3.1-8B-Instruct",
            {"custom_tools", "date_string", "tools_in_user_message", "builtin_tools"},
        ),
        ("zai-org--GLM-5", {"enable_thinking", "clear_thinking"}),
    ],
)
def test_the_options_of_known_templates_are_those_that_they_read(name: str, read: set[str], reference: Path) -> None:
    source = (reference / "templates" / name / "chat_template.jinja").read_text(encoding="utf-8")
    assert set(template(source).known_options) == read


def test_options_must_have_a_json_form() -> None:
    with pytest.raises(isc.OptionError, match="JSON"):
        template(CHATML, x=object())
    assert template("{{ specials }}", template_kwargs={"specials": "x"}).options == {"specials": "x"}


def test_the_clock_is_an_option() -> None:
    source = "{{ strftime_now('%d %b %Y') }}{{ messages[0].content }}"
    assert template(source).stream([USER]).__next__().text == "15 Jan 2025"
    assert template(source, now="2030-02-03").stream([USER]).__next__().text == "03 Feb 2030"
    assert template(source, now=None).stream([USER]).__next__().text[-4:].isdigit()


def test_content_that_is_none_is_left_out_or_null_as_the_template_needs_it() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}
    chat = convert.chat([USER, {"role": "assistant", "content": None, "tool_calls": [call]}])
    undefined = template("{% for m in messages %}[{{ m.content }}]{% endfor %}")
    assert "".join(s.text for s in undefined.conversation(chat)) == "[U][]"
    needed = template(
        "{% for m in messages %}{% if m['content'] is none %}-{% else %}{{ m['content'] + '' }}{% endif %}{% endfor %}"
    )
    assert "".join(s.text for s in needed.conversation(chat)) == "U-"
    refused = template("{% for m in messages %}{{ raise_exception('never') }}{% endfor %}")
    with pytest.raises(TemplateError, match="never"):
        refused.conversation(chat)


def test_inference_and_report() -> None:
    found = template(CHATML, eos_token="<|eos|>").report()
    assert (found.turn_close, found.stop_tokens) == ("<|im_end|>", ("<|im_end|>", "<|eos|>"))
    assert (found.reasoning, found.tool_calls, found.keeps_history) == (None, None, True)
    assert template(CHATML, turn_close="<|eos|>", stop_tokens=("<|eos|>",)).stop_tokens == ("<|eos|>",)
    lost = template("{{ messages[0].content.encode().decode() }}").report([USER]).lost
    assert lost == (LostPiece("U", "decode"),)


def test_grammars_are_recognized_or_chosen_and_otherwise_not_claimed() -> None:
    thinking = CHATML.replace(
        "m.content", "('<think>' + m.reasoning_content + '</think>' if m.reasoning_content else '') + m.content"
    )
    chosen = template(thinking)
    assert chosen.report().reasoning == "think"
    segments = (Segment("<think>", "special"), Segment("hm"), Segment("</think>", "special"), Segment("yes"))
    parsed = chosen.parse(isc.types.Sampled(segments, (0, 1, 2, 3, 4)), ())
    assert (parsed.reasoning_content, parsed.content) == ("hm", "yes")
    plain = template(CHATML).parse(isc.types.Sampled(segments, (0, 1, 2, 3, 4)), ())
    assert (plain.reasoning_content, plain.content) == (None, "<think>hm</think>yes")
    assert template(CHATML, reasoning="think").report().reasoning == "think"
    with pytest.raises(isc.OptionError, match="no known grammar"):
        template(CHATML, reasoning="dreams")
    with pytest.raises(isc.OptionError, match="no known grammar"):
        template(CHATML, tool_calls="json")


def _agreement(case: Case, seeds: range) -> Iterator[tuple[list[dict[str, Any]], Any]]:
    yield from filter(case.takes, CONVERSATIONS.values())
    for path in sorted((Path(__file__).parent.parent.parent / "examples").glob("*.json")):
        example = json.loads(path.read_text(encoding="utf-8"))
        yield example["messages"], example.get("tools")
    for seed in seeds:
        yield Writer(random.Random(seed), case.shape()).conversation(8)


@pytest.mark.parametrize("case", [case for case in CASES if case.template.startswith("Qwen--Qwen3-") and "VL" not in case.template], ids=lambda case: case.name)  # fmt: skip
def test_qwen3_by_family_and_by_template_agree(case: Case, reference: Path) -> None:
    """Text, owners, bodies and what is sampled are the same, for the golden table, the examples and random chats."""
    source = (reference / "templates" / case.template).read_text(encoding="utf-8")
    chosen = TracedTemplate(
        source, specials=case.family.specials, stop_tokens=case.family.stop_tokens, **dict(case.options)
    )
    assert (chosen.turn_close, chosen.keeps_history) == (case.family.turn_close, case.family.keeps_history)
    encoder = embedded(case.family.specials)
    compared = 0
    for messages, tools in _agreement(case, range(120)):
        for asked in (False, True):
            chat = convert.chat(messages, tools)
            family = [segment for segment in stream(case.family, chat, add_generation_prompt=asked) if segment.text]
            traced = list(chosen.stream(as_the_template_takes_it(messages, case.adaptations), tools, asked))
            roles = [str(chat.role(index)) for index in range(len(chat.messages))]
            assert fold(family, encoder, roles) == fold(traced, encoder, roles)
            assert _merged(family) == traced
            compared += 1
    assert compared > 200


def _merged(segments: Sequence[Segment]) -> list[Segment]:
    found: list[Segment] = []
    for segment in segments:
        last = found[-1] if found else None
        if (
            last
            and last.kind == segment.kind == "text"
            and (last.message, last.body) == (segment.message, segment.body)
        ):
            found[-1] = Segment(last.text + segment.text, "text", last.body, last.message)
        else:
            found.append(segment)
    return found


def test_renderer_reports_what_was_found_out_and_what_was_lost(small: isc.Renderer) -> None:
    renderer = isc.create_renderer(small.encoder, template(CHATML))
    report = renderer.report([{"role": "user", "content": "x"}])
    assert report is not None
    assert (report.turn_close, report.lost) == ("<|im_end|>", ())
    assert small.report() is None


def test_a_transformers_tokenizer_with_an_unknown_template_is_used_traced(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    (tmp_path / "tokenizer.json").write_text(qwen3_file(), encoding="utf-8")
    build: Any = PreTrainedTokenizerFast
    tokenizer = build(tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    with pytest.warns(isc.TracedTemplateNotice):
        renderer = isc.create_renderer(tokenizer)
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "you"}]
    theirs = tokenizer.apply_chat_template(messages)
    assert list(renderer.render_ids(messages)) == list(theirs["input_ids"])


PARTS = """{% for m in messages %}<|im_start|>{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{% if p.type == 'thinking' %}<think>{{ p.thinking }}</think>{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}"""
BOTH = PARTS.replace("{{ m.role }}:", "{{ m.role }}:{% if m.thinking %}<think>{{ m.thinking }}</think>{% endif %}")
THOUGHT = {"type": "thinking", "thinking": "r"}


@pytest.mark.parametrize(("source", "content"), [(PARTS, [THOUGHT, {"type": "text", "text": "b"}]), (BOTH, "b")])
def test_reasoning_is_a_part_of_the_content_for_a_template_that_shows_it_nowhere_else(
    source: str, content: object
) -> None:
    family = template(source)
    chat = convert.chat([USER, {"role": "assistant", "content": "b", "reasoning_content": "r"}])
    answer = [segment.text for segment in stream(family, chat) if segment.message == 1 and segment.body]
    assert "".join(answer) == "<think>r</think>b<|im_end|>"
    variables = family.template_variables(chat)
    taken = variables["messages"][1] if variables else {"content": "b"}  # type: ignore[index]
    assert taken == {"content": content, **({"role": "assistant"} if variables else {})}


def test_an_answer_in_parts_keeps_them_behind_its_reasoning() -> None:
    parts = [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]
    chat = convert.chat([USER, {"role": "assistant", "content": [THOUGHT, *parts]}, USER])
    text = "".join(segment.text for segment in stream(template(PARTS), chat))
    assert "assistant:<think>r</think>bc<|im_end|>" in text
