"""Calls and reasoning of templates that nobody has seen: a grammar is taken only if it reads back what was planted."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

import pytest

import growing
import isc
from isc.encoding.encoders import embedded
from isc.encoding.fold import fold
from isc.formats.segments import spelled
from isc.traced.template import TracedTemplate
from isc.types import ParsedResponse, Sampled, Segment

TOOLS = [
    {"name": "f", "parameters": {"properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}},
    {"name": "g", "parameters": {"properties": {}}},
]
ARGUMENTS = {"text": "two\nlines", "n": 3}

HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
THINK = "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
TAIL = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
EACH = "{% for c in m.tool_calls or () %}{% set f = c.function %}"


def chatml(calls: str) -> str:
    return HEAD + THINK + "{{ m.content }}" + calls + TAIL


def calls_of(one: str) -> str:
    return chatml(EACH + one + "{% endfor %}")


PAIRS = "{% for k, v in f.arguments.items() %}"
VALUE = "{{ v if v is string else v | tojson }}"
JSON_CALL = '{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}}'
LIST = (
    "{% if m.tool_calls %}<open>[{% for c in m.tool_calls %}{% set f = c.function %}"
    '{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{{ ', ' if not loop.last }}{% endfor %}]</open>{% endif %}"
)

# name, template, specials besides, the name of the grammar, how two calls are sampled
FORMATS: list[tuple[str, str, tuple[str, ...], str, str]] = [
    ("json in tags", calls_of(f"\n<tool_call>\n{JSON_CALL}\n</tool_call>"), ("<tool_call>", "</tool_call>"), "json",
     '\n<tool_call>\n{"name": "f", "arguments": %s}\n</tool_call>\n<tool_call>\n{"name": "g", "arguments": {}}\n'
     "</tool_call>"),
    ("a list in other tags", chatml(LIST), ("<open>", "</open>"), "json",
     '<open>[{"name": "f", "arguments": %s, "id": "1"}, {"name": "g", "arguments": {}, "id": "2"}]</open>'),
    ("tags that are text", chatml(LIST), (), "json",
     '<open>[{"name": "f", "arguments": %s, "id": "1"}, {"name": "g", "arguments": {}, "id": "2"}]</open>'),
    ("other keys", calls_of('<c>{"tool_name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}</c>'),
     ("<c>", "</c>"), "json",
     '<c>{"tool_name": "f", "parameters": %s}</c><c>{"tool_name": "g", "parameters": {}}</c>'),
    ("names as keys", calls_of('<c>{"{{ f.name }}": {{ f.arguments | tojson }}}</c>'), ("<c>", "</c>"), "json",
     '<c>{"f": %s}</c><c>{"g": {}}</c>'),
    ("a name and arguments", calls_of("[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments | tojson }}"),
     ("[TOOL_CALLS]", "[ARGS]"), "named_json", "[TOOL_CALLS]f[ARGS]%s[TOOL_CALLS]g[ARGS]{}"),
    ("with an id", calls_of("[TOOL_CALLS]{{ f.name }}[CALL_ID]{{ c.id }}[ARGS]{{ f.arguments | tojson }}"),
     ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"), "named_json",
     "[TOOL_CALLS]f[CALL_ID]abc[ARGS]%s[TOOL_CALLS]g[CALL_ID]def[ARGS]{}"),
    ("by id", calls_of("<|call|>{{ c.id }}<|args|>{{ f.arguments | tojson }}<|end|>"),
     ("<|call|>", "<|args|>", "<|end|>"),
     "named_json", "<|call|>functions.f:0<|args|>%s<|end|><|call|>functions.g:12<|args|>{}<|end|>"),
]  # fmt: skip
TAGGED: list[tuple[str, str, tuple[str, ...], str]] = [
    ("xml", calls_of("\n<tool_call>\n<function={{ f.name }}>\n" + PAIRS + "<parameter={{ k }}>\n" + VALUE +
                     "\n</parameter>\n{% endfor %}</function>\n</tool_call>"), ("<tool_call>", "</tool_call>"),
     "\n<tool_call>\n<function=f>\n<parameter=text>\n%s\n</parameter>\n<parameter=n>\n3\n</parameter>\n</function>\n"
     "</tool_call>\n<tool_call>\n<function=g>\n</function>\n</tool_call>"),
    ("pairs", calls_of("<tool_call>{{ f.name }}\n" + PAIRS + "<k>{{ k }}</k>\n<v>" + VALUE +
                       "</v>\n{% endfor %}</tool_call>"),
     ("<tool_call>", "</tool_call>", "<k>", "</k>", "<v>", "</v>"),
     "<tool_call>f\n<k>text</k>\n<v>%s</v>\n<k>n</k>\n<v>3</v>\n</tool_call><tool_call>g\n</tool_call>"),
    ("invoke", chatml('{% if m.tool_calls %}\n<calls>\n' + EACH + f'<invoke name="{{{{ f.name }}}}">\n{PAIRS}'
                      f'<parameter name="{{{{ k }}}}">{VALUE}</parameter>\n{{% endfor %}}</invoke>\n{{% endfor %}}'
                      "</calls>{% endif %}"), ("<calls>", "</calls>"),
     '\n<calls>\n<invoke name="f">\n<parameter name="text">%s</parameter>\n<parameter name="n">3</parameter>\n'
     '</invoke>\n<invoke name="g">\n</invoke>\n</calls>'),
]  # fmt: skip
ALL = [
    (name, source, specials, grammar, call % json.dumps(ARGUMENTS)) for name, source, specials, grammar, call in FORMATS
]
ALL += [(name, source, specials, "tagged", call % ARGUMENTS["text"]) for name, source, specials, call in TAGGED]
formats = pytest.mark.parametrize(
    ("source", "specials", "grammar", "call"), [row[1:] for row in ALL], ids=[row[0] for row in ALL]
)
TURNS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")


def traced(source: str, specials: tuple[str, ...] = (), **options: Any) -> TracedTemplate:  # noqa: ANN401
    return TracedTemplate(source, specials=(*TURNS, *specials), **options)


def read(template: TracedTemplate, text: str, prompt: str = "") -> ParsedResponse:
    renderer = isc.create_renderer(embedded(template.specials), template)
    ids, before = (fold(spelled(said, template.specials), renderer.encoder).token_ids for said in (text, prompt))
    return renderer.parse_response(ids, TOOLS, before)


@formats
def test_calls_of_an_unseen_template_are_read(source: str, specials: tuple[str, ...], grammar: str, call: str) -> None:
    template = traced(source, specials)
    assert template.report().tool_calls == grammar
    for content in ("", "Looking."):
        for thought in ("", "Hm."):
            think = f"<think>\n{thought}\n</think>\n\n" if thought else ""
            parsed = read(template, f"{think}{content}{call}<|im_end|>")
            assert [(found.status, found.name, found.arguments) for found in parsed.tool_calls] == [
                ("ok", "f", ARGUMENTS),
                ("ok", "g", {}),
            ]
            assert (parsed.content.strip(), parsed.reasoning_content or "") == (content, thought)
    cut = read(template, call[:-3]).tool_calls
    assert cut
    assert not any(found.name == "g" and found.status == "ok" and found.arguments for found in cut)


@formats
def test_a_call_drafted_in_reasoning_is_reasoning(
    source: str, specials: tuple[str, ...], grammar: str, call: str
) -> None:
    parsed = read(traced(source, specials), f"<think>\nMaybe {call}, no.\n</think>\n\nNo call.<|im_end|>")
    assert (parsed.tool_calls, parsed.content) == ((), "No call.")
    assert parsed.reasoning_content == f"Maybe {call}, no."
    assert grammar


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<tool_call>{"name": "f", "arguments": {"text": "a <tool_call></tool_call>"}}</tool_call>',
         [("ok", "f", {"text": "a <tool_call></tool_call>"})]),
        ('<tool_call>{"name": "f", "arguments": {"text": "a <tool_call> cut', [("unclosed_block", None, None)]),
        ('<tool_call>{"name": "f", "arguments": {"text": "a}}</tool_call>', [("invalid_json", None, None)]),
        ('<tool_call>{"name": <tool_call>{"name": "g", "arguments": {}}</tool_call>',
         [("unclosed_block", None, None), ("ok", "g", {})]),
        ('<tool_call>{"name": "f", "arguments": {}}', [("unclosed_block", "f", {})]),
        ('<tool_call>{"name": "h", "arguments": {}}</tool_call>', [("unknown_tool", "h", {})]),
        ('<tool_call>{"arguments": {}}</tool_call>', [("missing_name", None, {})]),
        ("<tool_call></tool_call>", [("invalid_json", None, None)]),
    ],
)  # fmt: skip
def test_every_attempt_of_a_traced_turn_is_kept_with_its_status(text: str, expected: list[Any]) -> None:
    _, source, specials, *_ = FORMATS[0]
    parsed = read(traced(source, specials), text + "<|im_end|>")
    assert [(call.status, call.name, call.arguments) for call in parsed.tool_calls] == expected


def test_what_proves_itself_by_nothing_is_content() -> None:
    odd = calls_of("<c>{{ f.name | upper }}({{ f.arguments | tojson }})</c>")
    template = traced(odd, ("<c>", "</c>"))
    assert template.report().tool_calls is None
    parsed = read(template, "<c>F({})</c>")
    assert (parsed.content, parsed.tool_calls) == ("<c>F({})</c>", ())


def test_a_grammar_can_be_chosen() -> None:
    silent = chatml("")
    specials = ("<tool_call>", "</tool_call>")
    assert traced(silent, specials).report().tool_calls is None
    chosen = traced(silent, specials, tool_calls="json")
    parsed = read(chosen, '<tool_call>{"name": "f", "arguments": {"n": 3}}</tool_call>')
    assert [call.arguments for call in parsed.tool_calls] == [{"n": 3}]
    with pytest.raises(isc.OptionError, match=r"no known grammar.*there are json, named_json"):
        traced(silent, specials, tool_calls="jsn")
    with pytest.raises(isc.OptionError, match="no known grammar"):
        traced(silent, tool_calls="json")


@pytest.mark.parametrize(
    ("brackets", "name"),
    [(("<|start_think|>", "<|end_think|>"), "<|start_think|>"), (("<think>", "</think>"), "think")],
)
def test_reasoning_markers_are_those_around_planted_thoughts(brackets: tuple[str, str], name: str) -> None:
    source = chatml("").replace("<think>", brackets[0]).replace("</think>", brackets[1])
    template = traced(source, brackets)
    assert template.report().reasoning == name
    parsed = read(template, f"{brackets[0]}\nHm.\n{brackets[1]}\n\nyes<|im_end|>")
    assert (parsed.reasoning_content, parsed.content) == ("Hm.", "yes")


@formats
def test_reading_a_traced_turn_grows_with_what_was_sampled(
    source: str, specials: tuple[str, ...], grammar: str, call: str
) -> None:
    template = traced(source, specials)
    marks = frozenset(specials)
    pieces = [text for text in (*specials, "<think>", '{"name": "f", "a": "', "x", call[:20], call[-20:], call) if text]
    for repeated in [[piece] for piece in pieces] + [pieces, [*specials, '{"name": ']]:
        turn = cache(partial(_sampled, repeated, marks))
        grown = growing.grown(lambda count, turn=turn: template.parse(turn(count), ()), 1_000)  # type: ignore[misc]
        assert grown <= growing.RATIO, repeated
    assert grammar


def _sampled(pieces: list[str], specials: frozenset[str], count: int) -> Sampled:
    texts = [pieces[number % len(pieces)] for number in range(count)]
    segments = tuple(Segment(text, "special" if text in specials else "text") for text in texts)
    return Sampled(segments, tuple(range(count + 1)))
