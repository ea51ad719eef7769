"""What reading costs grows with what was sampled and no faster: degenerate samplers at n and 4n, every family."""

from __future__ import annotations

import time
from functools import cache, partial

import pytest

import growing
import isc
from isc.encoding.encoders import embedded
from isc.types import Sampled, Segment

SMALL = 1_500


def degenerate(family: isc.Family) -> dict[str, tuple[str, ...]]:
    """What samplers that have lost their way say, by name."""
    specials = family.specials
    opened = [text for text in specials if not text.startswith(("</", "<|im_end"))]
    calls = [text for text in specials if "tool" in text or "arg" in text or "python" in text or "channel" in text]
    return {
        "all specials in turn": specials,
        "the first special": specials[:1],
        "the last special": specials[-1:],
        "all openers and a word": tuple(text for opener in opened for text in (opener, "x")),
        "what calls are made of": tuple(calls) or specials,
        "calls with JSON left open": tuple(text for mark in calls for text in (mark, '{"name": "f", "a": "'))
        or specials,
        "calls with JSON cut": tuple(text for mark in calls for text in (mark, '{"name": ')) or specials,
        "parameters left open": tuple(text for mark in calls for text in (mark, "\n<function=f>\n<parameter=x>\n"))
        or specials,
        "text": ("word ", "another "),
    }


def _between(marks: list[str], text: str) -> tuple[str, ...]:
    return tuple(piece for mark in marks for piece in (mark, text))


FAMILIES: list[isc.Family] = [kind() for kind in isc.list_families().values()]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_reading_grows_with_what_was_sampled(family: isc.Family) -> None:
    stops = {*family.stop_tokens, "<|system|>", "<|assistant|>"}
    specials = frozenset(family.specials) - stops
    for name, texts in degenerate(family).items():
        said = tuple(text for text in texts if text not in stops) or ("x",)
        for before in ((), ("<think>",)):
            turn = cache(partial(_sampled, before, said, specials))
            grown = growing.grown(lambda count, turn=turn: family.parse(turn(count), ()), SMALL)  # type: ignore[misc]
            assert grown <= growing.RATIO, (
                name,
                before,
            )


def _sampled(before: tuple[str, ...], texts: tuple[str, ...], specials: frozenset[str], count: int) -> Sampled:
    said = [*before, *(texts[number % len(texts)] for number in range(count))]
    segments = tuple(Segment(text, "special" if text in specials else "text") for text in said)
    return Sampled(segments, tuple(range(len(segments) + 1)))


def test_a_hundred_thousand_turn_starts_are_read_at_once() -> None:
    """The degenerate sampler that took 61 s on DeepSeek's specials: two seconds would be forty times too slow."""
    for family in (isc.Qwen3(), isc.DeepSeekV3(), isc.MiniMaxM2()):
        renderer = isc.create_renderer(embedded(family.specials), family)
        mark = next(renderer.encoder.specials[text] for text in family.specials if text not in family.stop_tokens)
        start = time.process_time()
        assert renderer.parse_response([mark] * 100_000).tool_calls == ()
        assert time.process_time() - start < 2
