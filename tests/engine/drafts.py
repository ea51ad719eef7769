"""What the tiny model is made to say: random weights never call a tool, so most completions are drafted in part.

A draft is a list of ids and of gaps (None) that the model fills. Its texts are cut at random places before they are
encoded, as a model may spell one text by other tokens than the encoder would.
"""

from __future__ import annotations

import random
from typing import TypeAlias

from isc.segments import spelled
from isc.types import Encoder

Draft: TypeAlias = list[int | None]

_SPECIALS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>", "<|endoftext|>")
_CALLS = (
    '{"name": "now", "arguments": {}}',
    '{"name": "search", "arguments": {"query": "naïve 漢字", "limit": 3}}',
    '{"name": "search", "arguments": {"query": "a  b\\n", "filters": {"lang": "de"}}}',
)
_ODD_CALLS = (
    '{"name":"now","arguments":{}}',
    '{"arguments": {"query": "x"}, "name": "search"}',
    '{"name": "search", "arguments": {"query": "na\\u00efve", "limit": 1e1}}',
    '{"name": "shell", "arguments": {"command": "ls"}}',
)
_BROKEN_CALLS = (
    '{"name": "now", "arguments": {}',
    '{"name": "search", "arguments": "cats"}',
    '{"arguments": {}}',
    "now()",
    "",
    "{'name': 'now'}",
)


def draft(encoder: Encoder, dice: random.Random) -> Draft:
    """A completion as far as it is drafted; empty where the model speaks alone."""
    kind = dice.choices(("calls", "answer", "alone", "stopped_thinking"), (70, 12, 10, 8))[0]
    if kind == "alone":
        return []
    thought = [*_said(encoder, "<think>\n", dice), *_gap(dice)]
    close = _said(encoder, dice.choices(("<|im_end|>", "<|endoftext|>"), (9, 1))[0], dice)
    if kind == "stopped_thinking":
        return thought + close
    head = [*thought, *_said(encoder, "\n</think>\n\n", dice)] if dice.random() < 0.6 else []
    said = _gap(dice) if kind == "answer" or dice.random() < 0.4 else []
    calls = [id for _ in range(dice.choice((1, 1, 2))) for id in _call(encoder, dice)] if kind == "calls" else []
    return [*head, *said, *calls, *close]


def _call(encoder: Encoder, dice: random.Random) -> Draft:
    """A call: mostly as the format spells it, else otherwise, with a mistake, or left unclosed."""
    raw = dice.choice(dice.choices((_CALLS, _ODD_CALLS, _BROKEN_CALLS), (6, 2, 2))[0])
    opener, closer = dice.choices(("\n<tool_call>\n", "<tool_call>"), (4, 1))[0], "\n</tool_call>"
    return _said(encoder, opener + raw + (closer if dice.random() < 0.93 else ""), dice)


def _gap(dice: random.Random) -> Draft:
    """Some tokens for the model to sample."""
    return [None] * dice.randint(1, 10)


def _said(encoder: Encoder, text: str, dice: random.Random) -> Draft:
    """A text as ids, its specials as such, the rest in one piece or cut."""
    ids: Draft = []
    for segment in spelled(text, _SPECIALS):
        if segment.kind == "special":
            ids.append(encoder.specials[segment.text])
        else:
            places = (dice.randrange(1, max(2, len(segment.text))) for _ in range(dice.choice((0, 0, 0, 1, 2))))
            cuts = [0, *sorted(places), len(segment.text)]
            pieces = [segment.text[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
            ids += [id for piece in encoder.encode_batch([piece for piece in pieces if piece]) for id in piece]
    return ids
