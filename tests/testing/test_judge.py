r"""A green `isc check` can be trusted: sound templates hold, and each of these mutants of them turns a check red.

A mutant is a text that is replaced in a template, and the check that has to find it. Conversations are the built-in
ones; the oracle of every check is the mutant's own text by plain Jinja, as for any fine-tune.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from transformers.utils.chat_template_utils import render_jinja_template

import isc
from isc import testing
from isc.formats.qwen3 import Qwen3
from isc.testing import Shape
from isc.testing.conformance import CheckReport, Outcome, check_model
from isc.testing.judging import Judge, decodes, masks, probes
from isc.testing.reference import FileReference
from tokenizer_files import Document, byte_level, prefixed, text_of, with_added_tokens

SPECIALS = (
    *("<|bos|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
    *("<tool_response>", "</tool_response>", "<|user|>", "<|assistant|>"),
)
AGENT = """<|bos|>{%- if tools %}<|im_start|>system
{{ messages[0].content + '\n\n' if messages[0].role == 'system' }}# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'user' %}<|im_start|>user
{{ message.content }}<|im_end|>
{% elif message.role == 'assistant' %}<|im_start|>assistant
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% elif message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% elif not loop.first %}<|im_start|>system
{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""ChatML with tools, calls, results and reasoning."""
TALK = (
    "<|bos|>{% for message in messages %}{% if message.role not in ['user', 'assistant'] %}"
    "{{ raise_exception('only users and assistants') }}{% endif %}{% if not loop.first %}{{ '\n' }}{% endif %}"
    "<|{{ message.role }}|>{{ '\n' + message.content }}{% if message.role == 'assistant' %}<|endoftext|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\n' }}<|assistant|>{{ '\n' }}{% endif %}"
)
"""Users and assistants, a separator before each turn, a close of assistants' turns alone."""
OPTIONS = {"bos_token": "<|bos|>", "eos_token": "<|im_end|>"}
NOW = datetime(2025, 1, 1)
STOPS = {AGENT: "<|im_end|>", TALK: "<|endoftext|>"}

_PROMPT = "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
_CLOSE = "{%- endfor %}<|im_end|>\n{% elif message.role == 'tool' %}"
_HEADER = "{% elif message.role == 'assistant' %}<|im_start|>assistant\n"
_RESULT = "<tool_response>\n{{ message.content }}\n</tool_response>"
_USER = "{%- if message.role == 'user' %}<|im_start|>user\n{{ message.content }}<|im_end|>\n"
_CALL = '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}'
_THOUGHT = "<think>\n{{ message.reasoning_content }}\n</think>"
_SHOWN = "everything said is shown"
_BEGIN = "turns begin as prompts end"
_STOP = "stops are trained"
_READ = "calls and reasoning are read back"
_TWICE = "no special is doubled"
MUTANTS: dict[str, tuple[str, str, str, str]] = {
    "a header moved into the body": (AGENT, _PROMPT, _PROMPT.replace("assistant\n", ""), "no header is sampled"),
    "a header written again in the body": (AGENT, _HEADER, _HEADER + "<|im_start|>assistant\n", "no header is sampled"),
    "a prompt of another role": (AGENT, _PROMPT, _PROMPT.replace("assistant", "model"), _BEGIN),
    "turns of another role than the prompt's": (AGENT, _HEADER, _HEADER[:-10] + "bot\n", _BEGIN),
    "a prompt with a blank too many": (AGENT, _PROMPT, _PROMPT.replace("assistant\n", "assistant\n{{ ' ' }}"), _BEGIN),
    "a lost separator before the prompt": (
        TALK,
        "{{ '\n' }}<|assistant|>{{ '\n' }}",
        "<|assistant|>{{ '\n' }}",
        _BEGIN,
    ),
    "a lost separator of a user's header": (AGENT, _USER, _USER.replace("user\n", "user"), _SHOWN),
    "a dropped stop": (AGENT, _CLOSE, _CLOSE.replace("<|im_end|>", ""), _STOP),
    "a stop dropped from the last turn": (
        AGENT,
        _CLOSE,
        _CLOSE.replace("<|im_end|>", "{% if not loop.last %}<|im_end|>{% endif %}"),
        _STOP,
    ),
    "a stop of another model": (AGENT, _CLOSE, _CLOSE.replace("<|im_end|>", "<|endoftext|>"), _STOP),
    "a stop dropped from turns of users and assistants alike": (TALK, "<|endoftext|>", "", _STOP),
    "a doubled close": (AGENT, _CLOSE, _CLOSE.replace("<|im_end|>", "<|im_end|><|im_end|>"), _TWICE),
    "a doubled close across a newline": (AGENT, _CLOSE, _CLOSE.replace("<|im_end|>", "<|im_end|>\n<|im_end|>"), _TWICE),
    "a doubled beginning": (AGENT, "<|bos|>", "<|bos|><|bos|>", _TWICE),
    "a lost tool result": (AGENT, _RESULT, "<tool_response>\n</tool_response>", _SHOWN),
    "lost tools": (AGENT, "{{ tool | tojson }}", "", "tools are shown"),
    "a lost system message": (AGENT, "<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n", "", _SHOWN),
    "a lost user message": (
        AGENT,
        _USER,
        _USER.replace("message.content", "message.content if loop.index < 3"),
        _SHOWN,
    ),
    "lost answers but the last": (
        AGENT,
        "{{- message.content or '' }}",
        "{{- message.content or '' if loop.last or message.tool_calls else '' }}",
        _SHOWN,
    ),
    "an answer cut short": (AGENT, "{{- message.content or '' }}", "{{- (message.content or '')[:5] }}", _SHOWN),
    "an answer written twice": (AGENT, "{{- message.content or '' }}", "{{- (message.content or '') * 2 }}", _SHOWN),
    "a lost call": (AGENT, f"<tool_call>\n{_CALL}\n</tool_call>", "", _SHOWN),
    "lost arguments": (AGENT, ', "arguments": {{ call.function.arguments | tojson }}', "", _SHOWN),
    "reasoning without markers": (AGENT, _THOUGHT, "{{ message.reasoning_content }}", _READ),
    "calls without markers": (AGENT, f"<tool_call>\n{_CALL}\n</tool_call>", "{{ call | tojson }}!", _READ),
    "messages in another order": (AGENT, "for message in messages %}", "for message in messages | reverse %}", _SHOWN),
}
"""The template, what is replaced in it by what, and the check that fails."""


def report_of(template: str, stop: str, place: Path, vocabulary: Document | None = None) -> CheckReport:
    """What `isc check` says of a model with this template."""
    document = with_added_tokens(vocabulary or byte_level(), SPECIALS)
    (place / "tokenizer.json").write_text(text_of(document), encoding="utf-8")
    settings = {"eos_token": stop, "bos_token": "<|bos|>"}
    (place / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (place / "chat_template.jinja").write_text(template, encoding="utf-8")
    return check_model(str(place), None, lambda shape: testing.built_in(shape, 2), tools="tools" in template)


def failed(report: CheckReport) -> dict[str, Outcome]:
    return {outcome.check: outcome for outcome in report.outcomes if outcome.status == "fail"}


@pytest.mark.parametrize("template", STOPS, ids=["agent", "talk"])
def test_the_sound_templates_hold(template: str, tmp_path: Path) -> None:
    report = report_of(template, STOPS[template], tmp_path)
    assert report.holds, failed(report)
    assert [outcome.check for outcome in report.outcomes if outcome.status == "skipped"] == ["attribution parity"]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_turns_the_check_red_that_it_is_made_for(name: str, tmp_path: Path) -> None:
    template, sound, broken, check = MUTANTS[name]
    assert template.count(sound) == 1, "what is replaced stands in the template once"
    report = report_of(template.replace(sound, broken), STOPS[template], tmp_path)
    assert not report.holds
    assert check in failed(report), failed(report)


BLOCK = "{% generation %}"
MARKED = AGENT.replace(_HEADER, _HEADER + BLOCK).replace(
    _CLOSE, _CLOSE.replace("<|im_end|>", "<|im_end|>{% endgeneration %}")
)
MASKS = {
    "what is sampled": (MARKED, ()),
    "a header too many": (
        MARKED.replace(_HEADER + BLOCK, _HEADER.replace("<|im_start|>", BLOCK + "<|im_start|>")),
        ("marks '<|im_start|>assistant\\nzq2assistant<|im_end|>'", "isc is right by law 4"),
    ),
    "a stop too few": (
        MARKED.replace("<|im_end|>{% endgeneration %}", "{% endgeneration %}<|im_end|>"),
        ("marks 'zq2assistant'", "isc is right by law 4"),
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_generation_blocks_are_compared_with_what_is_sampled(name: str, tmp_path: Path) -> None:
    template, told = MASKS[name]
    report = report_of(template, "<|im_end|>", tmp_path)
    outcome = next(outcome for outcome in report.outcomes if outcome.check == "generation blocks")
    assert outcome.status == ("info" if told else "pass"), outcome
    assert outcome.tried == 7
    own = FileReference(template, tmp_path / "tokenizer.json", OPTIONS, NOW)
    found = list(masks(Judge(isc.load(tmp_path), own), own, dict(probes(Shape()))["planted: a talk"]))
    assert len(found) == (2 if told else 0)
    assert all(word in found[0] for word in told)


def test_blocks_are_where_transformers_finds_them(tmp_path: Path) -> None:
    messages, tools = dict(probes(Shape()))["planted: calls"]
    report_of(MARKED, "<|im_end|>", tmp_path)
    reference = FileReference(MARKED, tmp_path / "tokenizer.json", {}, NOW)
    text, blocks = reference.generation((messages, tools))
    render: Any = render_jinja_template
    rendered, spans = render([messages], tools=tools, chat_template=MARKED, return_assistant_tokens_mask=True)
    assert (text, blocks) == (rendered[0], spans[0])
    assert len(blocks) == 2


@pytest.mark.parametrize("kind", ["prepend", "always", "first", "byte-level"])
def test_vocabularies_that_put_a_space_before_a_text_decode_to_the_text(kind: str, tmp_path: Path) -> None:
    report = report_of(AGENT, "<|im_end|>", tmp_path, prefixed(kind))
    assert report.holds, failed(report)
    outcome = next(outcome for outcome in report.outcomes if outcome.check == "ids decode to the text")
    assert (outcome.status, outcome.tried) == ("pass", 7)


def test_ids_that_do_not_decode_to_the_text_are_found(tmp_path: Path) -> None:
    report_of(AGENT, "<|im_end|>", tmp_path)
    conversation = dict(probes(Shape()))["planted: a talk"]
    renderer = isc.load(tmp_path)
    (tmp_path / "other.json").write_text(text_of(with_added_tokens(byte_level(), SPECIALS[::-1])), encoding="utf-8")
    for file, count in (("tokenizer.json", 0), ("other.json", 1)):
        reference = FileReference(AGENT, tmp_path / file, OPTIONS, NOW)
        assert len(list(decodes(renderer, reference, conversation))) == count


class Untimely(Qwen3, frozen=True, tag="untimely"):
    """A family that starts sampling with the header, writes a call's stop outside and bridges one newline too many."""

    def conversation(
        self, chat: isc.Chat, *, add_generation_prompt: bool = False, parts: bool = False
    ) -> list[isc.Segment]:
        """Samples the header of every assistant turn, too."""
        segments = super().conversation(chat, add_generation_prompt=add_generation_prompt, parts=parts)
        roles = [chat.role(index) for index in range(len(chat.messages))]
        return [
            structs.replace(
                segment, body=segment.body or (segment.message >= 0 and roles[segment.message] == "assistant")
            )
            for segment in segments
        ]


def test_a_family_that_samples_its_header_is_found(reference: Path) -> None:
    template = (reference / "templates" / "Qwen--Qwen3-8B" / "chat_template.jinja").read_text(encoding="utf-8")
    vocabulary = reference / "tokenizers" / "qwen3" / "tokenizer.json"
    own = FileReference(template, vocabulary, {}, NOW)
    conversation = dict(probes(Shape()))["planted: a talk"]
    encoder = isc.encoders.embedded(Qwen3().specials)
    for family, count in ((Qwen3(), 0), (Untimely(), 2)):
        judge = Judge(isc.create_renderer(encoder, family), own)
        assert len(list(judge.starts_at_prompt(conversation))) == count
        assert len(list(judge.no_header_sampled(conversation))) == count
        assert bool(list(judge.stops_at_stop(conversation, ["<|im_end|>"]))) is bool(count)


def test_declared_stops_at_which_nothing_ends_are_told(tmp_path: Path) -> None:
    ids = {text: place for place, text in enumerate(SPECIALS, len(byte_level()["model"]["vocab"]))}
    stops = [ids["<|im_end|>"], ids["<|endoftext|>"]]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}), encoding="utf-8")
    report = report_of(AGENT, "<|im_end|>", tmp_path)
    outcome = next(outcome for outcome in report.outcomes if outcome.check == "every stop is trained")
    assert (outcome.status, outcome.findings[0].detail) == ("info", "no turn ends at <|endoftext|>")
    assert report.holds
