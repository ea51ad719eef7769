"""Calls while they are sampled: the name once it is certain, arguments as they come, what a torn call ends in."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from test_streaming import TOOLS, prompted_turns, rendered, turns

import isc
from cases import CASES, Case
from growing import RATIO, grown
from isc.encoding.encoders import embedded
from isc.formats.catalogue import family_name
from isc.formats.reading.gemma_telling import GemmaTeller
from isc.formats.reading.json_telling import JsonTeller
from isc.formats.reading.llama_telling import LlamaTeller
from isc.formats.reading.nested_telling import NestedTeller
from isc.formats.reading.pair_telling import PairTeller
from isc.formats.reading.tagged_telling import TaggedTeller
from spelled_ids import ids_of

ArgumentsDelta, CallEnded, CallStarted = isc.reading.ArgumentsDelta, isc.reading.CallEnded, isc.reading.CallStarted


def told_by_id(
    renderer: isc.Renderer, ids: Sequence[int], prompt: Sequence[int] = ()
) -> list[tuple[isc.reading.ReadingEvent, ...]]:
    """What each id made certain, one at a time."""
    reader, told = renderer.reader(prompt_ids=prompt, tools=TOOLS), list[tuple[isc.reading.ReadingEvent, ...]]()
    for token_id in ids:
        reader, events = reader.feed([token_id])
        told.append(events)
    return told


def argument_texts(events: Sequence[isc.reading.ReadingEvent]) -> str:
    """The text of arguments in these events."""
    return "".join(event.text for event in events if isinstance(event, ArgumentsDelta))


def spoken(renderer: isc.Renderer, ids: Sequence[int]) -> str:
    """Ids as text, specials by their spelling."""
    names = {token_id: text for text, token_id in renderer.encoder.specials.items()}
    pieces = [names[k].encode() if k in names else renderer.encoder.decode_bytes([k]) for k in ids]
    return b"".join(pieces).decode("utf-8", "ignore")


def tells_json(case: Case) -> bool:
    """Whether a format's arguments are JSON and told as they come. An id that follows them is waited for."""
    follows = case.family.follows(())
    teller = follows.teller if follows is not None else None
    is_json = isinstance(teller, JsonTeller) and not teller.grammar.id_key
    return is_json or isinstance(teller, LlamaTeller) or family_name(case.family) in ("gpt-oss", "inkling")


@pytest.mark.parametrize("case", [case for case in CASES if tells_json(case)], ids=lambda case: case.name)
def test_the_json_of_arguments_is_told_to_the_last_character_that_came(case: Case) -> None:
    renderer = case.renderer(embedded(case.family.specials))
    sampled = [ids for ids in turns(renderer) if renderer.parse_response(ids, TOOLS).tool_calls]
    assert sampled
    for ids in sampled:
        told = told_by_id(renderer, ids)
        whole = argument_texts([event for events in told for event in events if getattr(event, "index", 0) == 0])
        assert whole
        start, text = spoken(renderer, ids).index(whole), ""
        for k, events in enumerate(told):
            text += argument_texts([event for event in events if getattr(event, "index", 0) == 0])
            came = max(len(spoken(renderer, ids[: k + 1])) - start, 0)
            assert text == whole[:came], (k, events)


TOLD_WHOLE = {
    "mistral": "v3 says a call's id last",
    "laguna-xs.2": "without tokens for its tags",
}
"""Families of which some vocabularies or variants have calls that are told at their end, and why."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_call_begins_long_before_it_ends(case: Case) -> None:
    renderer = case.renderer(embedded(case.family.specials))
    for prompt, ids in prompted_turns(renderer):
        calls = renderer.parse_response(ids, TOOLS, prompt).tool_calls
        if not any(call.arguments for call in calls):
            continue
        told = told_by_id(renderer, ids, prompt)
        first = next(k for k, events in enumerate(told) if any(isinstance(event, CallStarted) for event in events))
        last = next(k for k, events in enumerate(told) if any(isinstance(event, CallEnded) for event in events))
        assert first < last or family_name(case.family) in TOLD_WHOLE, case.name


def test_a_name_is_told_where_its_separator_stands() -> None:
    renderer = isc.create_renderer(embedded(isc.KimiK2().specials), isc.KimiK2())
    ids = ids_of(renderer, "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>")
    *before, last = told_by_id(renderer, ids)
    assert not any(before)
    assert last == (CallStarted(0, "f", "functions.f:0"),)


def test_a_name_in_an_object_is_told_at_its_quote() -> None:
    renderer = isc.create_renderer(embedded(isc.Qwen3().specials), isc.Qwen3())
    *before, last = told_by_id(renderer, ids_of(renderer, '<tool_call>\n{"name": "f"'))
    assert not any(before)
    assert last == (CallStarted(0, "f"),)


WHOLE = '<tool_call>\n{"name": "f", "arguments": {"x": "a"}'
TORN_CALLS = {
    WHOLE: ("unclosed_block", '{"x": "a"}'),
    WHOLE + "}<|im_end|>": ("unclosed_block", '{"x": "a"}'),
    WHOLE + " x}</tool_call>": ("invalid_json", '{"x": "a"}'),
    WHOLE + ', "name": "g"}</tool_call>': ("malformed_structure", '{"x": "a"}'),
    WHOLE + ', "arguments": {}}</tool_call>': ("malformed_structure", '{"x": "a"}'),
    '<tool_call>\n{"name": "f", "arguments": {"x": "a</tool_call><|im_end|>': ("invalid_json", '{"x": "a'),
}
"""Torn calls, the status they end in, and what of their arguments is told before."""


@pytest.mark.parametrize("text", TORN_CALLS)
def test_a_torn_call_keeps_what_was_told_and_ends_as_it_is_read(text: str) -> None:
    renderer = isc.create_renderer(embedded(isc.Qwen3().specials), isc.Qwen3())
    status, arguments = TORN_CALLS[text]
    reader, events = renderer.reader(tools=TOOLS), list[isc.reading.ReadingEvent]()
    for token_id in ids_of(renderer, text):
        reader, more = reader.feed([token_id])
        events += more
    last, response = reader.finished()
    told = [event for event in (*events, *last) if isinstance(event, (CallStarted, ArgumentsDelta, CallEnded))]
    assert told[0] == CallStarted(0, "f")
    assert argument_texts(told) == arguments
    assert isinstance(told[-1], CallEnded)
    assert told[-1].call == response.tool_calls[0]
    assert told[-1].call.status == status


def test_what_an_object_says_in_another_order_is_told_as_a_whole() -> None:
    renderer = isc.create_renderer(embedded(isc.Qwen3().specials), isc.Qwen3())
    text = '<tool_call>\n{"arguments": {"x": "a"}, "name": "f"}\n</tool_call>'
    *before, last = told_by_id(renderer, ids_of(renderer, text))
    assert not any(before)
    (call,) = renderer.parse_response(ids_of(renderer, text), TOOLS).tool_calls
    assert last == (CallStarted(0, "f"), ArgumentsDelta(0, '{"x": "a"}'), CallEnded(0, call))


def test_calls_of_harmony_are_told_as_they_come() -> None:
    renderer = isc.create_renderer(embedded(isc.GptOss().specials), isc.GptOss())
    text = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"x": "a<|end|>b"}<|call|>'
    told = [event for events in told_by_id(renderer, ids_of(renderer, text)) for event in events]
    assert told[0] == CallStarted(0, "f")
    assert argument_texts(told) == '{"x": "a<|end|>b"}'
    assert len(told) > 6
    (call,) = renderer.parse_response(ids_of(renderer, text), TOOLS).tool_calls
    assert told[-1] == CallEnded(0, call)


VALUE = "Good day,  here \n is  a < b </p <par and é🎉\n\n more"
HELD = ("", "\n", "\n\n", "<", "</", "</p")
"""What a value may hold back: the first characters of what may end it."""


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def tells_tags(case: Case) -> bool:
    """Whether a format's arguments stand in tags and are told."""
    follows = case.family.follows(())
    tellers = (TaggedTeller, PairTeller, NestedTeller, GemmaTeller)
    return follows is not None and isinstance(follows.teller, tellers)


@pytest.mark.parametrize("case", [case for case in CASES if tells_tags(case)], ids=lambda case: case.name)
def test_a_text_in_tags_is_told_but_for_what_may_end_it(case: Case) -> None:
    renderer = case.renderer(embedded(case.family.specials))
    call = {"type": "function", "id": "call00000", "function": {"name": "f", "arguments": {"x": VALUE}}}
    answer = {"role": "assistant", "content": "", "tool_calls": [call]}
    (prompt, whole), *_ = rendered(renderer, answer)
    start = next((k for k, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
    ids, text, waited = whole[start:], "", set[str]()
    begins = spoken(renderer, ids).index(VALUE)
    for k, events in enumerate(told_by_id(renderer, ids, prompt[: len(whole[:start])])):
        text += argument_texts(events)
        came = VALUE[: max(len(spoken(renderer, ids[: k + 1])) - begins, 0)]
        ends = ("", "}", '"}', '""}')
        said = json.loads(text + next(end for end in ends if is_json(text + end)))["x"] if len(text) > 1 else ""
        assert came.startswith(said)
        if len(came) < len(VALUE):
            waited.add(came[len(said) :].rstrip("\ufffd"))
    assert waited <= set(HELD)
    assert json.loads(text) == {"x": VALUE}


def test_a_value_of_no_known_kind_is_told_at_its_end() -> None:
    renderer = isc.create_renderer(embedded(isc.Glm5().specials), isc.Glm5())
    ids = ids_of(renderer, "</think><tool_call>f<arg_key>y</arg_key><arg_value>[1, 2]</arg_value>")
    *before, last = told_by_id(renderer, ids)
    assert argument_texts([event for events in before for event in events]) == '{"y": '
    assert last == (ArgumentsDelta(0, "[1, 2]"),)


DSML, DSML_END = "<｜DSML｜", "</｜DSML｜parameter>"
DSML_CALL = f"{DSML}tool_calls>\n{DSML}invoke"
ELEMENTS = '<|open|>response<|sep|><|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|>'
NESTED = '@<tool_call>\n@<invoke name="f">@<y>'
FEEDS = {
    "hermes": (isc.Qwen3(), '<tool_call>\n{"name": "f", "arguments": {"x": "', "word "),
    "escapes": (isc.Qwen3(), '<tool_call>\n{"name": "f", "arguments": {"x": "', '\\"</tool_call>'),
    "brackets": (isc.Qwen3(), '<tool_call>\n{"name": "f", "arguments": {"x": ', '['),
    "blanks": (isc.Qwen3(), '<tool_call>\n{"name": "f", "arguments": {"x": "</tool_call>', ' '),
    "calls": (isc.Qwen3(), "x", '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'),
    "heads": (isc.Qwen3(), "<tool_call>", " "),
    "kimi": (isc.KimiK2(), "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{", '"a": "word", '),
    "text in tags": (isc.Qwen35(), "</think><tool_call>\n<function=f>\n<parameter=x>\n", "word </parameter>\n"),
    "value in tags": (isc.Qwen35(), "</think><tool_call>\n<function=f>\n<parameter=y>\n", "word "),
    "blanks in tags": (isc.Qwen35(), "</think><tool_call>\n<function=f>\n<parameter=x>\n</parameter>", " "),
    "closers": (isc.Qwen35(), "</think><tool_call>x", "</tool_call>"),
    "pairs": (isc.Glm5(), "</think><tool_call>f", "<arg_key>x</arg_key><arg_value>word</arg_value>"),
    "dsml": (isc.DeepSeekV4(), f'{DSML_CALL} name="f">', f'{DSML}parameter name="x" string="true">{DSML_END}'),
    "calls of dsml": (isc.DeepSeekV4(), "\n", f'{DSML_CALL} name="f">\n\n</｜DSML｜invoke>'),
    "gemma": (isc.Gemma4(), "<|tool_call>call:f{x:[", '<|"|>word<|"|>,{a:1},'),
    "nested openers": (isc.MiniMaxM3(), NESTED.replace("@", "]<]minimax[>["), "]<]minimax[>[<y>"),
    "elements": (isc.KimiK3(), ELEMENTS, '<|open|>argument key="x"<|sep|>word <|close|>argument<|sep|>'),
    "nested": (isc.MiniMaxM3(), NESTED.replace("@", "]<]minimax[>["), "]<]minimax[>[<y>word ]<]minimax[>[</y>"),
    "inkling": (isc.Inkling(), '<|content_invoke_tool_json|>{"name": "f", "args": {"x": "', "word <|end_message|>"),
    "llama": (isc.Llama3(), '{"name": "f", "parameters": {"x": "', "word <|python_tag|>"),
    "harmony": (isc.GptOss(), '<|channel|>commentary to=functions.f<|message|>{"x": "', "word <|end|>"),
}  # fmt: skip


@pytest.mark.parametrize("name", FEEDS)
def test_a_feed_of_a_call_costs_the_same_however_much_was_read(name: str) -> None:
    family, start, piece = FEEDS[name]
    renderer = isc.create_renderer(embedded(family.specials), family)
    first, more = ids_of(renderer, start), ids_of(renderer, piece)

    def work(count: int) -> isc.reading.TurnReader:
        reader, _ = renderer.reader(tools=TOOLS).feed(first)
        for token_id in more * max(count // len(more), 1):
            reader, _ = reader.feed([token_id])
        return reader

    assert grown(work) <= RATIO
