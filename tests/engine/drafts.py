"""What the tiny model is made to say: random weights never call a tool, so most completions are drafted in part.

A draft is a list of ids and of gaps (None) that the model fills. One text in twenty is cut somewhere before it is
encoded, as a model may spell one text by other tokens than the encoder would.
"""

from __future__ import annotations

import random
from typing import TypeAlias

from isc.encoding.base import Encoder
from isc.formats.qwen3 import Qwen3
from isc.formats.segments import spelled

Draft: TypeAlias = list[int | None]

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

_SENTENCES = (
    "I will look it up.",
    "The user wants to know; one call should do.",
    "Let me see: 12 + 30 = 42.",
    "naïve, e\u0301, 漢字",
)


def draft(encoder: Encoder, dice: random.Random) -> Draft:
    """A completion as far as it is drafted; empty where the model speaks alone."""
    kind = dice.choices(("calls", "answer", "alone", "stopped_thinking"), (75, 12, 6, 7))[0]
    if kind == "alone":
        return []
    thought = [*_said(encoder, "<think>\n", dice), *_words(encoder, dice)]
    close = _said(encoder, dice.choices(("<|im_end|>", "<|endoftext|>"), (9, 1))[0], dice)
    if kind == "stopped_thinking":
        return thought + close
    head = [*thought, *_said(encoder, "\n</think>\n\n", dice)] if dice.random() < 0.7 else []
    said = _words(encoder, dice) if kind == "answer" or dice.random() < 0.4 else []
    calls = _calls(encoder, dice, after_words=bool(said)) if kind == "calls" else []
    return [*head, *said, *calls, *close]


def _calls(encoder: Encoder, dice: random.Random, *, after_words: bool) -> Draft:
    """One call or two, each on a line of its own as the format has it."""
    count = dice.choice((1, 1, 2))
    return [id for k in range(count) for id in _call(encoder, dice, "\n" if k or after_words else "")]


def _call(encoder: Encoder, dice: random.Random, line: str) -> Draft:
    """A call: mostly as the format spells it, else otherwise, with a mistake, or left unclosed."""
    raw = dice.choice(dice.choices((_CALLS, _ODD_CALLS, _BROKEN_CALLS), (6, 2, 2))[0])
    opener = dice.choices(("<tool_call>\n", "<tool_call>"), (9, 1))[0]
    closer = "\n</tool_call>" if dice.random() < 0.95 else ""
    return _said(encoder, line + opener + raw + closer, dice)


def _words(encoder: Encoder, dice: random.Random) -> Draft:
    """A sentence, or some tokens for the model to sample."""
    return _said(encoder, dice.choice(_SENTENCES), dice) if dice.random() < 0.6 else [None] * dice.randint(1, 10)


def _said(encoder: Encoder, text: str, dice: random.Random) -> Draft:
    """A text as ids, its specials as such, the rest in one piece or cut."""
    ids: Draft = []
    for segment in spelled(text, Qwen3.specials):
        if segment.kind == "special":
            ids.append(encoder.specials[segment.text])
        else:
            cut = dice.randrange(len(segment.text)) if dice.random() < 0.05 else 0
            pieces = [piece for piece in (segment.text[:cut], segment.text[cut:]) if piece]
            ids += [id for piece in encoder.encode_batch(pieces) for id in piece]
    return ids
