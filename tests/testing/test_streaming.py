"""The law `streaming`: every family and every traced template, on turns whole, torn and mixed up, in any pieces."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, islice
from typing import Any

import pytest
from hypothesis import given, settings, strategies

import isc
from cases import CASES, Case
from growing import RATIO, grown
from isc.encoding.encoders import embedded
from isc.errors import ConversationError, TemplateError
from isc.formats.catalogue import family_name
from isc.testing.streams import streaming
from spelled_ids import ids_of
from traced_references import TEMPLATES, traced_template

USER = {"role": "user", "content": "hi"}
TOOLS = [
    {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}},
    {"name": "g", "description": "d", "parameters": {"type": "object", "properties": {}}},
]
CALLS = [
    {"id": f"functions.{name}:{k}", "type": "function", "function": {"name": name, "arguments": arguments}}
    for k, (name, arguments) in enumerate([("f", {"x": 'a "b"\n</x> {', "y": [1, {"z": None}]}), ("g", {})])
]
ANSWERS: list[dict[str, Any]] = [
    {"role": "assistant", "content": "Good  day\n\n é🎉 <too <tool_", "reasoning_content": "so\n\nso  ü "},
    {"role": "assistant", "content": "Good day"},
    {"role": "assistant", "content": "I look \n", "reasoning_content": "hm", "tool_calls": CALLS},
    {"role": "assistant", "content": "", "tool_calls": CALLS[:1]},
    {"role": "assistant", "content": "  x", "tool_calls": CALLS[1:]},
]
NOISE = (" ", "\n", "\n\n", "x", "say ", "{", "[", '"', "<", "é", "🎉", "<tool_call>", "thought\n", " to=functions.f")
TAGS = ("</parameter>", "\n</parameter>\n", "<parameter=y>\n", "<parameter=y>", "</function>\n", "<function=g>\n", ">",
        '<invoke name="g">\n', "</invoke>\n", '<parameter name="y">', "</parameter>\n<parameter=", "</")  # fmt: skip
JSON = ('"', "{", "}", "[", "]", "\\", ", ", ': {"', "\n", "1", '"name": "g"', '"arguments": {}, ', '"x": ')
TORN = (*JSON, *TAGS, *NOISE)
"""What tears calls."""


def turns(renderer: isc.Renderer) -> list[tuple[int, ...]]:
    """What would be sampled of the answers that the format takes, and what follows them in a render."""
    return [sampled for _, sampled in prompted_turns(renderer)]


def prompted_turns(renderer: isc.Renderer) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The same, each behind its prompt."""
    pairs: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for answer in ANSWERS:
        for prompt, whole in islice(rendered(renderer, answer), 1):
            start = next((k for k, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
            pairs.append((whole[:start], whole[start:]))
    return pairs


def rendered(renderer: isc.Renderer, answer: dict[str, Any]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """A prompt and the whole with an answer, with tools and without; also with call ids of nine characters."""
    calls = [{**call, "id": f"call0000{k}"} for k, call in enumerate(answer.get("tool_calls", ()))]
    for said in (answer, {**answer, "tool_calls": calls}) if calls else (answer,):
        for tools in (TOOLS, None):
            try:
                yield renderer.render_ids([USER], tools, True), renderer.render_ids([USER, said], tools)
            except (ConversationError, TemplateError):
                continue


def pieces_of(renderer: isc.Renderer, turn: Sequence[int]) -> list[tuple[int, ...]]:
    """A turn cut at its specials."""
    specials = set(renderer.encoder.specials.values())
    return [tuple(group) for _, group in groupby(turn, key=lambda token_id: token_id if token_id in specials else -1)]


def mixed(source: random.Random, renderer: isc.Renderer, sampled: Sequence[tuple[int, ...]]) -> list[int]:
    """Pieces of turns, specials and noise, in any order."""
    specials = [k for text in renderer.family.specials if (k := renderer.encoder.specials.get(text)) is not None]
    ids: list[int] = []
    for _ in range(source.randint(1, 5)):
        kind, turn = source.random(), source.choice(sampled)
        if kind < 0.4:
            start, end = sorted(source.choices(range(len(turn) + 1), k=2))
            ids += turn[start:end] if source.random() < 0.6 else turn[: source.randint(0, len(turn))]
        elif kind < 0.6:
            ids += chain.from_iterable(source.choices(pieces_of(renderer, turn), k=source.randint(1, 6)))
        elif kind < 0.75 and specials:
            ids += source.choices(specials, k=source.randint(1, 3))
        else:
            for text in source.choices(NOISE, k=source.randint(1, 5)):
                ids += next(iter(renderer.encoder.encode_batch([text])))
    if source.random() < 0.2:
        ids.insert(source.randint(0, len(ids)), source.choice((-1, 10**9, source.randrange(200))))
    return ids


def torn(source: random.Random, renderer: isc.Renderer, sampled: Sequence[tuple[int, ...]]) -> list[int]:
    """A turn in which a few places say something else, or are not said."""
    ids = list(source.choice(sampled))
    specials = [k for text in renderer.family.specials if (k := renderer.encoder.specials.get(text)) is not None]
    for _ in range(source.randint(1, 3)):
        place = source.randint(0, len(ids))
        (more,) = renderer.encoder.encode_batch([source.choice(TORN)])
        if specials and source.random() < 0.3:
            more = [source.choice(specials)]
        ids[place : place + source.choice((0, 0, 0, 1, 3))] = more if source.random() < 0.8 else ()
    return ids


def check(renderer: isc.Renderer, examples: int) -> None:
    """The law, on whole turns and on any mixture of their pieces, after no prompt, a prompt, and one that goes on."""
    prompts: list[tuple[int, ...]] = [()]
    for tools in (None, TOOLS):
        try:
            prompts.append(renderer.render_ids([USER], tools, True))
        except (ConversationError, TemplateError):
            continue
    sampled = turns(renderer)
    assert sampled
    for ids in sampled:
        streaming(renderer, ids, prompts[-1], TOOLS)

    @given(strategies.randoms(use_true_random=False))
    @settings(max_examples=examples)
    def hold(source: random.Random) -> None:
        ids = (torn if source.random() < 0.4 else mixed)(source, renderer, sampled)
        prompt = source.choice(prompts)
        if source.random() < 0.2:
            prompt += source.choice(sampled)[: source.randint(0, 20)]
        sizes = (1,) if source.random() < 0.5 else (*source.choices((0, 1, 2, 3, 7), k=3), 1)
        streaming(renderer, ids, prompt, source.choice((None, TOOLS)), sizes)

    hold()


def test_a_turn_that_begins_with_its_own_head_is_not_stopped_by_it() -> None:
    renderer = isc.create_renderer(embedded(isc.Glm5().specials), isc.Glm5())
    streaming(renderer, ids_of(renderer, "<|assistant|></think>Good <|assistant|>day"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_turn_in_pieces_is_the_turn_at_once(case: Case) -> None:
    check(case.renderer(embedded(case.family.specials)), settings().max_examples)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_turn_of_a_traced_template_in_pieces_is_the_turn_at_once(name: str) -> None:
    template = traced_template(name)
    check(isc.create_renderer(embedded(template.specials), template), max(settings().max_examples // 2, 1))


WAITING = {
    "gpt-oss": "a text without a header is no message",
    "inkling": "a text without a kind is no message",
    "kimi-k3": "a text outside of all elements is no answer, and a closer makes it reasoning",
    "deepseek-v3.2": "a closer ends reasoning that nothing opened",
    "deepseek-v4": "a closer ends reasoning that nothing opened",
}
"""Families whose content is told at the end, where no closer of reasoning was sampled first."""


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_content_waits_for_no_more_than_a_marker_and_white_space(case: Case, *, is_closed: bool) -> None:
    renderer = case.renderer(embedded(case.family.specials))
    name, markers = family_name(renderer.family), renderer.family.reasoning
    if getattr(renderer.family, "render_assistant_messages_raw", False) or (is_closed and markers is None):
        pytest.skip("all that was sampled is content, reasoning too, or there is no reasoning")
    if renderer.family.follows(()) is None:
        pytest.skip("the format does not say how its turns go on: all is told at their end")
    if is_closed and name == "gemma-4":
        pytest.skip("a closer that is sampled first is content")
    before = (renderer.encoder.specials[markers.closer],) if is_closed and markers is not None else ()
    waits = name in WAITING and not (name.startswith("deepseek") and (before or markers is None))
    text = "Good day,  here \n is  a < b <tool and é🎉 <| more"
    ids = (*before, *next(iter(renderer.encoder.encode_batch([text]))))
    reader, told = renderer.reader(), ""
    for k, token_id in enumerate(ids):
        reader, events = reader.feed([token_id])
        told += "".join(event.text for event in events if isinstance(event, isc.reading.ContentDelta))
        known = renderer.parse_response(ids[: k + 1]).content
        assert known.startswith(told)
        left = known[len(told) :].rstrip("\ufffd").strip()
        assert told == "" if waits else left in MARKER_BEGINNINGS, (k, told[-20:], left)


@pytest.mark.parametrize(
    ("family", "closer"),
    [
        (isc.KimiK3(), "<|close|>think<|sep|>"),
        (isc.DeepSeekV4(thinking=True), "</think>"),
        (isc.DeepSeekV32(thinking=True), "</think>"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_a_later_closer_makes_reasoning_waits_unless_the_prompt_is_known(family: isc.Family, closer: str) -> None:
    """No bound is possible: the closer may come after any text. With its prompt each word is told as it comes."""
    renderer = isc.create_renderer(embedded(family.specials), family)
    text = ids_of(renderer, "word " * 50)
    assert renderer.parse_response(text).content
    assert renderer.parse_response((*text, *ids_of(renderer, closer))).content == ""
    reader, events = renderer.reader().feed(text)
    assert events == ()
    assert reader.finish().content
    prompt = renderer.render_ids([USER], add_generation_prompt=True)
    told = []
    reader = renderer.reader(prompt_ids=prompt)
    for token_id in text:
        reader, events = reader.feed([token_id])
        told.append(events)
    assert sum(map(bool, told)) >= 49
    assert all(isinstance(event, isc.reading.ReasoningDelta) for events in told for event in events)


MARKER_BEGINNINGS = ("", "<", "<t", "<to", "<too", "<tool", "<|")


def test_messages_of_harmony_are_told_as_they_come() -> None:
    renderer = isc.create_renderer(embedded(isc.GptOss().specials), isc.GptOss())
    text = (
        "<|channel|>analysis<|message|>So é,<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        "<|start|>assistant<|channel|>analysis<|message|> then<|end|><|start|>assistant<|channel|>final<|message|>4 "
    )
    reader, seen = renderer.reader(prompt_ids=renderer.render_ids([USER], None, True)), list[isc.reading.ReadingEvent]()
    for token_id in ids_of(renderer, text):
        reader, events = reader.feed([token_id])
        seen += events
    thoughts = "".join(event.text for event in seen if isinstance(event, isc.reading.ReasoningDelta))
    contents = "".join(event.text for event in seen if isinstance(event, isc.reading.ContentDelta))
    assert (thoughts, contents) == ("So é,\n then", "I look.\n4 ")
    _, events = reader.feed(ids_of(renderer, "<|return|>"))
    assert events == (isc.reading.ReasoningEnded(), isc.reading.Stopped("<|return|>"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_call_is_told_where_its_closer_stands(case: Case) -> None:
    renderer = case.renderer(embedded(case.family.specials))
    follows = renderer.family.follows(())
    if follows is None or not follows.begins.closers:
        pytest.skip("the closers of its calls are text")
    called = 0
    for prompt, ids in prompted_turns(renderer):
        calls = renderer.parse_response(ids, TOOLS, prompt).tool_calls
        closers = [k for k, id_ in enumerate(ids) if id_ == renderer.encoder.specials[follows.begins.closers[0]]]
        if calls:
            called += 1
            _, events = renderer.reader(prompt_ids=prompt, tools=TOOLS).feed(ids[: closers[-1] + 1])
            assert tuple(event.call for event in events if isinstance(event, isc.reading.CallEnded)) == calls
    assert called


STARTS = ("<think>x", "<think>x</think>y", "</think>", "x<tool_call>{", "")
PIECES = ("word ", " ", "<tool", "🎉", "word<tool_call>")


@pytest.mark.parametrize("family", [isc.Qwen3(), isc.KimiK25(), isc.Qwen35()], ids=repr)
@pytest.mark.parametrize(
    ("start", "piece"), [(start, PIECES[0]) for start in STARTS] + [(STARTS[0], piece) for piece in PIECES[1:]]
)
def test_a_feed_costs_the_same_however_much_was_read(family: isc.Family, start: str, piece: str) -> None:
    renderer = isc.create_renderer(embedded(family.specials), family)
    first, more = ids_of(renderer, start), ids_of(renderer, piece)

    def work(count: int) -> isc.reading.TurnReader:
        reader, _ = renderer.reader().feed(first)
        for token_id in more * (count // len(more)):
            reader, _ = reader.feed([token_id])
        return reader

    assert grown(work) <= RATIO
