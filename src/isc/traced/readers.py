"""Infer how a template's turns are read back: reasoning markers and call grammar, from renders of planted turns.

Turns are rendered whose calls, content and thoughts are known; a grammar counts only if it reads every one of them back
exactly. What is not proven is not claimed: then calls stay in the content.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any, Final, NamedTuple

from isc.errors import TemplateError
from isc.formats.reading.evidence import Call, Evidence, Reader, Shown, around_of, of_flags, proven, reads_back, usual
from isc.formats.reading.scanners import past_head, until
from isc.formats.segments import is_special, scaffold, special, spelled
from isc.traced.conversation import conversation, prompt_segments
from isc.traced.format import Dicts, Format
from isc.traced.limits import one_limit
from isc.traced.prompts import USER
from isc.traced.sampled_turns import Closing
from isc.types import Json, Reasoning, Sampled, Segment, ToolSpec

REASONINGS: Final[Mapping[str, tuple[str, str]]] = {
    "think": ("<think>", "</think>"),
    "think_brackets": ("[THINK]", "[/THINK]"),
}
"""Known ways to bracket reasoning, by name."""
GRAMMARS: Final = ("json", "named_json", "tagged", "gemma", "pythonic", "harmony", "llama")
"""Names of the grammars of calls."""

_SAID: Final = "isc says"
_THOUGHT: Final = "isc thought"
_NAME: Final = "get_isc_weather"
_OTHER: Final = "find_isc_flights"
_ONE: Final[Mapping[str, Json]] = {"isc_city": "isc Paris", "isc_days": 31}
_NESTED: Final[Mapping[str, Json]] = {"isc_deep": {"a": [1, "s", {"b": True}]}, "isc_list": [2, "t"]}
_TEXTS: Final[Mapping[str, Json]] = {"isc_quoted": 'a "b" c, d: e\nf', "isc_text": "five"}
_PROPERTIES: Final[Mapping[str, Json]] = {
    "isc_city": {"type": "string", "description": "d"},
    "isc_days": {"type": "integer", "description": "d"},
    "isc_deep": {"type": "object", "description": "d"},
    "isc_flag": {"type": "boolean", "description": "d"},
    "isc_list": {"type": "array", "description": "d"},
    "isc_quoted": {"type": "string", "description": "d"},
    "isc_text": {"type": "string", "description": "d"},
}


def _tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": dict(_PROPERTIES), "required": []}
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}


_TOOLS: Final = (_tool(_NAME), _tool(_OTHER))
SPECS: Final = tuple(ToolSpec(tool) for tool in _TOOLS)


class Reading(NamedTuple):
    """The reading of turns: the name of the reasoning's brackets, the brackets, the reader of the text after them.

    `prefilled`: every prompt ends with a reasoning opener, which the vocabulary has as text.
    """

    reasoning_name: str | None
    reasoning: Reasoning | None
    reader: Reader
    prefilled: bool = False

    @property
    def is_marked(self) -> bool:
        """Return whether the brackets of reasoning are specials, which ids tell."""
        return self.reasoning is not None and special(self.reasoning.closer) in self.reasoning.closing


class _Plan(NamedTuple):
    """A turn to be rendered: its calls, whether it says something, whether it thinks."""

    calls: tuple[tuple[str, Mapping[str, Json]], ...] = ()
    says: bool = False
    thinks: bool = False


_PLANS: Final[Mapping[str, _Plan]] = {
    "one": _Plan(((_NAME, _ONE),)),
    "two": _Plan(((_NAME, _ONE), (_OTHER, _ONE))),
    "content": _Plan(((_NAME, _ONE),), says=True),
    "nested": _Plan(((_NAME, _NESTED),)),
    "empty": _Plan(((_NAME, {}),)),
    "texts": _Plan(((_NAME, _TEXTS),)),
    "two, content": _Plan(((_NAME, _TEXTS), (_OTHER, {})), says=True),
    "thought": _Plan(((_NAME, _ONE),), thinks=True),
    "thought, content": _Plan(((_NAME, _ONE),), says=True, thinks=True),
    "flags": _Plan(((_NAME, {"isc_flag": True}),)),
    "answer": _Plan(says=True),
    "answer, thought": _Plan(says=True, thinks=True),
}


@lru_cache(maxsize=128)
@one_limit()
def reading_of(chosen: Format, closing: Closing, reasoning: str | None, tool_calls: str | None) -> Reading:
    """Infer how a template's turns are read. Names select reasoning and grammar. Keeps the last 128."""
    shown = _shown(chosen, closing)
    name, markers = _reasoning_of(chosen, shown, reasoning)
    if markers is not None:
        shown = {plan: _opened(one, markers) for plan, one in shown.items()}
    reader = _reader_of(chosen, shown, markers, tool_calls)
    if markers is not None and reader.grammar is not None:
        markers = Reasoning(markers.opener, markers.closer, markers.closing, reader.grammar.enders, markers.label)
    if reader.harmonic or markers is None:
        return Reading("harmony" if reader.harmonic else None, None, reader)
    prefilled = markers.opener not in chosen.specials and _leaves_open(_prompt(chosen), markers)
    return Reading(name, markers, reader, prefilled)


def _prompt(chosen: Format) -> Sequence[Segment]:
    try:
        return prompt_segments(chosen, [USER], None)
    except TemplateError:
        return ()


def _reader_of(chosen: Format, shown: Mapping[str, Shown], markers: Reasoning | None, tool_calls: str | None) -> Reader:
    """Return the reader that is proven, else the usual one of the given name, else one that reads content only."""
    answers = tuple(shown[name] for name in ("answer", "answer, thought") if name in shown)
    flags = shown.get("flags")
    first = next((name for name, plan in _PLANS.items() if plan.calls == _PLANS["one"].calls and name in shown), None)
    if first is not None:
        content = shown.get("content") if first != "content" else None
        others = tuple(one for name, one in shown.items() if name not in (first, "two", "content", "flags"))
        if content is not None and not content.content:
            others, content = (*others, content), None
        evidence = Evidence(shown[first], shown.get("two"), content, others, chosen.specials, SPECS)
        reader = proven(evidence, markers, tool_calls)
        if reader is not None:
            return reader if flags is None else of_flags(reader, flags, markers, SPECS)
    grammar = usual(tool_calls, chosen.specials)
    return Reader(grammar, around_of(answers, markers, grammar, SPECS), harmonic=tool_calls == "harmony")


def _shown(chosen: Format, closing: Closing) -> Mapping[str, Shown]:
    """Return planted turns as they would be sampled, where the template shows their content."""
    shown: dict[str, Shown] = {}
    for identities in (("abcdefgh1", "abcdefgh2"), (f"functions.{_NAME}:0", f"functions.{_OTHER}:1")):
        for as_text in (False, True):
            shown = dict(_rendered(chosen, closing, identities, as_text=as_text))
            if any(one.calls for one in shown.values()):
                break
        if any(one.calls for one in shown.values()):
            break
    return shown if _prompt(chosen) else _without_head(shown)


def _without_head(shown: Mapping[str, Shown]) -> Mapping[str, Shown]:
    """Cut the head that an answer and a call share off turns of a template without a generation prompt."""
    if "answer" not in shown or len({bool(one.calls) for one in shown.values()}) < 2:
        return shown
    turns = [one.turn.segments for one in shown.values()]
    count = next((k for k, same in enumerate(zip(*turns, strict=False)) if len(set(same)) > 1), 0)
    if not count or any(len(turn) <= count for turn in turns):
        return shown
    texts = [turn[count].text if turn[count].kind == "text" else "" for turn in turns]
    head = (*turns[0][:count], scaffold(os.path.commonprefix(texts)))
    return {name: one._replace(turn=past_head(one.turn, lambda: head)) for name, one in shown.items()}


def _rendered(
    chosen: Format, closing: Closing, identities: tuple[str, str], *, as_text: bool
) -> Iterator[tuple[str, Shown]]:
    for name, plan in _PLANS.items():
        turn = _turn_of(plan, identities, as_text=as_text)
        try:
            sampled = _sampled(chosen, closing, turn, _TOOLS if plan.calls else None)
        except TemplateError:
            continue
        text = "".join(segment.text for segment in sampled.segments)
        calls = tuple(
            Call(f, arguments, identity) for (f, arguments), identity in zip(plan.calls, identities, strict=False)
        )
        thought = _THOUGHT if plan.thinks and _THOUGHT in text else ""
        content = _SAID if plan.says and _SAID in text else ""
        if all(_is_shown(call, text) for call in calls) and (calls or content):
            yield name, Shown(sampled, calls, content, thought)


def _is_shown(call: Call, text: str) -> bool:
    return call.name in text and all(key in text for key in call.arguments)


def _turn_of(plan: _Plan, identities: tuple[str, str], *, as_text: bool) -> dict[str, Any]:
    """Return a turn as a template takes it."""
    import json

    turn: dict[str, Any] = {"role": "assistant", "content": _SAID if plan.says else ""}
    if plan.thinks:
        turn |= {"reasoning_content": _THOUGHT, "thinking": _THOUGHT}
    if plan.calls:
        turn["tool_calls"] = [
            {
                "id": identity,
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments) if as_text else dict(arguments)},
            }
            for (name, arguments), identity in zip(plan.calls, identities, strict=False)
        ]
    return turn


def _sampled(chosen: Format, closing: Closing, turn: Mapping[str, Any], tools: Dicts | None) -> Sampled:
    """Render a turn after a user's message and return the sampled part of it, up to its stop."""
    own = [s for s in conversation(chosen, closing, [USER, turn], tools) if s.message == 1]
    prompted = tuple(takewhile(lambda segment: not segment.body, own))
    segments = tuple(segment for segment in own if segment.body)
    sampled = Sampled(segments, tuple(range(len(segments) + 1)), prompted=prompted)
    prompt = prompt_segments(chosen, [USER], tools)
    return past_head(until(sampled, closing.stop_tokens), lambda: prompt)


def _reasoning_of(chosen: Format, shown: Mapping[str, Shown], name: str | None) -> tuple[str | None, Reasoning | None]:
    """Return the brackets of this name, or those around planted thoughts, else those that the template spells."""
    thoughtful = [one for one in shown.values() if one.thought]
    thoughts = [one for one in thoughtful if not one.calls] or thoughtful  # some formats think beside calls only
    for known, (opener, closer) in REASONINGS.items():
        if name == known and {opener, closer} <= set(chosen.specials):
            return known, Reasoning(opener, closer, _closing(chosen, thoughts, closer))
    if name is not None:
        return None, None
    for known, markers in _bracket_candidates(chosen, thoughts):
        if all(_reads_thought(one, markers) for one in thoughts):
            return known, markers
    for known, (opener, closer) in REASONINGS.items():
        if opener in chosen.source and closer in chosen.source and {opener, closer} <= set(chosen.specials):
            return known, Reasoning(opener, closer, _closing(chosen, thoughts, closer))
    return None, None


def _reads_thought(shown: Shown, markers: Reasoning) -> bool:
    opened = _opened(shown, markers)
    if opened.calls:
        return (Reader().read(opened.turn, markers, ()).reasoning_content or "").strip() == opened.thought
    around = around_of([opened], markers, None, ())
    return reads_back(Reader(around=around), opened, markers, ())


def _opened(shown: Shown, markers: Reasoning) -> Shown:
    """Mark a turn whose prompt left reasoning open."""
    turn = Sampled(shown.turn.segments, shown.turn.starts, _leaves_open(shown.turn.prompted, markers))
    return shown._replace(turn=turn)


def _leaves_open(prompt: Sequence[Segment], markers: Reasoning) -> bool:
    """Return whether a prompt ends inside reasoning that it opened."""
    marks = [segment for segment in prompt if segment.kind == "special"]
    text = "".join(segment.text for segment in prompt).rstrip()
    return bool(marks and is_special(marks[-1], markers.opener)) or text.endswith(markers.opener)


def _bracket_candidates(chosen: Format, thoughts: Sequence[Shown]) -> Iterator[tuple[str, Reasoning]]:
    """Yield the specials, or the tags, around planted thoughts."""
    for shown in thoughts[:1]:
        segments = (*shown.turn.prompted, *shown.turn.segments)
        place = next((k for k, s in enumerate(segments) if s.kind == "text" and _THOUGHT in s.text), None)
        if place is None:
            return
        _, _, after = segments[place].text.partition(_THOUGHT)
        texts = list(takewhile(lambda segment: segment.kind == "text", reversed(segments[: place + 1])))
        before = "".join(segment.text for segment in reversed(texts)).partition(_THOUGHT)[0]
        opener = next((s.text for s in reversed(segments[:place]) if s.kind == "special"), None)
        closer = next((s.text for s in segments[place + 1 :] if s.kind == "special"), None)
        tags = re.search(r"<[^<>\s]+>\s*\Z", before), re.match(r"\s*</[^<>\s]+>", after)
        if tags[0] and tags[1]:
            opener, closer, before = tags[0].group().strip(), tags[1].group().strip(), ""
        if opener is not None and closer is not None:
            name = next((known for known, marks in REASONINGS.items() if marks == (opener, closer)), opener)
            label = before.lstrip() if before.strip() else ""
            yield name, Reasoning(opener, closer, _closing(chosen, thoughts, closer), (), label)


def _closing(chosen: Format, thoughts: Sequence[Shown], closer: str) -> tuple[Segment, ...]:
    """Return the segments between a thought and the content after it."""
    for shown in thoughts:
        text = "".join(segment.text for segment in shown.turn.segments)
        start = text.find(_THOUGHT)
        end = text.find(closer, start) + len(closer) if shown.calls else text.find(_SAID)
        if 0 <= start < end:
            return tuple(spelled(text[start + len(_THOUGHT) : end], chosen.specials))
    return (scaffold("\n"), special(closer), scaffold("\n\n"))
