"""The same episodes the way they are played without bridges: every prompt is rendered anew from parsed messages.

Messages are what isc read of the completions, and calls that could not be read stay as text, which the tokenizer turns
into control tokens again: the comparison is with re-rendering, not with a worse parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct
from transformers import PreTrainedTokenizerFast

from engine.episodes import RENDERERS, Played, Turn
from golden_conversations import TOOLS
from isc.formats.qwen3 import Qwen3
from isc.traced.values import chat_messages
from isc.types import Chat, Message, UserMessage
from references import stand_in

Fate: TypeAlias = Literal["kept", "other ids", "other text"]
Kind: TypeAlias = Literal[
    "tool results after a well-formed turn", "tool results after a malformed turn", "a user message"
]
Scores: TypeAlias = Callable[[Sequence[int]], Sequence[float]]

_TEMPLATES = {"hybrid": "Qwen--Qwen3-8B", "instruct_2507": "Qwen--Qwen3-30B-A3B-Instruct-2507"}


class Followed(Struct, frozen=True):
    """A turn that another came after: by what, whether isc re-rendered there, what re-rendering made of its ids."""

    name: str
    episode: int
    kind: Kind
    refused: bool
    fate: Fate


class Tokens(Struct, frozen=True):
    """What re-rendering the whole episode leaves of the tokens that isc trains on.

    `same`: behind the same ids. `moved`: found behind other ids; how far the model's log-probability there is from the
    sampler's. `absent`: how many have no counterpart.
    """

    same: int
    moved: tuple[float, ...]
    absent: int


class Incumbent:
    """`apply_chat_template` of transformers with the model's own template."""

    def __init__(self, reference: Path, variant: str) -> None:
        place = reference / "templates" / _TEMPLATES[variant] / "chat_template.jinja"
        tokenizer = stand_in(Qwen3().specials)
        self._tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)  # type: ignore[no-untyped-call]  # so it is
        self._tokenizer.chat_template = place.read_text(encoding="utf-8")

    def ids(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> tuple[int, ...]:
        """The conversation's ids."""
        found = self._tokenizer.apply_chat_template(
            chat_messages(Chat(tuple(messages))),
            tools=[*TOOLS],
            add_generation_prompt=add_generation_prompt,
            tokenize=True,
            return_dict=False,
        )
        return tuple(found)


def incumbents(reference: Path) -> dict[str, Incumbent]:
    """One a renderer, by its name."""
    made = {variant: Incumbent(reference, variant) for variant in _TEMPLATES}
    return {
        name: made["hybrid" if renderer.family.reasoning else "instruct_2507"] for name, renderer in RENDERERS.items()
    }


def followed(played: Sequence[Played], reference: Path) -> Iterator[Followed]:
    """Every turn that another came after."""
    made = incumbents(reference)
    for number, one in enumerate(played):
        refused = {point.turn for point in one.episode.rerenders}
        for place, (turn, following) in enumerate(zip(one.turns, one.turns[1:], strict=False)):
            kind = _kind(turn, one.episode.messages[turn.messages + 1])
            yield Followed(one.name, number, kind, place in refused, _fate(made[one.name], one, turn, following))


def _kind(turn: Turn, next_message: Message) -> Kind:
    if isinstance(next_message, UserMessage):
        return "a user message"
    read = all(call.status in ("ok", "unknown_tool") for call in turn.response.tool_calls)
    complete = turn.finish_reason != "length" and turn.response.reasoning_complete
    return "tool results after a well-formed turn" if read and complete else "tool results after a malformed turn"


def _fate(incumbent: Incumbent, one: Played, turn: Turn, following: Turn) -> Fate:
    """What the next prompt makes of what the model saw and sampled, had its prompt been rendered this way too."""
    messages = one.episode.messages
    seen = incumbent.ids(messages[: turn.messages], add_generation_prompt=True) + turn.completion_ids
    rendered = incumbent.ids(messages[: following.messages], add_generation_prompt=True)
    if rendered[: len(seen)] == seen:
        return "kept"
    text = one.renderer.encoder.decode_bytes
    return "other ids" if text(rendered).startswith(text(seen)) else "other text"


def tokens(played: Sequence[Played], reference: Path, scores: Scores) -> Iterator[Tokens]:
    """For each episode what re-rendering leaves of its trained tokens, scored by the model that sampled them."""
    made = incumbents(reference)
    for one in played:
        ours, theirs = one.episode.token_ids, made[one.name].ids(one.episode.messages, add_generation_prompt=False)
        blocks = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
        counterparts = {a + k: b + k for a, b, size in blocks for k in range(size)}
        parted = next((k for k, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(ours))
        trained = [k for k, drawn in enumerate(one.episode.loss_mask) if drawn]
        found, scored = [k for k in trained if k >= parted and k in counterparts], scores(theirs)
        moved = tuple(abs(scored[counterparts[k]] - (one.episode.logprobs[k] or 0.0)) for k in found)
        same = sum(k < parted for k in trained)
        yield Tokens(same, moved, len(trained) - same - len(moved))
