"""isc.compat and the real `renderers` 0.1.12 side by side: the same tokenizer and configuration, for every case."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import renderers
import renderers.configs
from msgspec import Struct, structs
from transformers import PreTrainedTokenizerFast

import isc
from cases import CASES, Case
from isc import convert
from isc.compat import FamilyRenderer
from isc.compat.configs import CONFIGS
from isc.compat.formats import OTHER_NAMES, family_of, implied_retention
from isc.conversation.training import sampled_ids
from isc.encoding.encoders import VocabularyEncoder, embedded, from_file
from isc.formats.catalogue import family_name
from isc.testing import Conversation, Reference, Writer
from references import stand_in, tokenizer_of, write_harmony_ranks


class Sides(Struct, frozen=True):
    """Both renderers of a case. `parsing` is isc's with `body_specials="parse"`, `default` that of the main variant.

    `strict` is isc's own family, which follows the template, where what compat has is made to follow `renderers`.
    """

    case: Case
    ours: FamilyRenderer
    theirs: Any
    parsing: FamilyRenderer
    default: FamilyRenderer | None
    strict: FamilyRenderer
    reference: Reference


class Turn(Struct, frozen=True):
    """An assistant turn of a conversation: its prompt, what the model would have sampled, and what came after."""

    messages: tuple[Mapping[str, Any], ...]
    tools: list[dict[str, Any]] | None
    prompt_ids: list[int]
    completion_ids: list[int]
    following: list[Mapping[str, Any]]


def configuration(case: Case) -> tuple[str, dict[str, Any]] | None:
    """The name and the fields that ask for a case in `renderers`; None where it has no such format or option."""
    name, values = family_name(case.family), structs.asdict(case.family)
    variant = values.pop("variant", None)
    named = [other for other, value in OTHER_NAMES.items() if value == (name, variant)]
    kind = CONFIGS.get(named[0] if named else name)
    if kind is None:
        return None
    defaults = structs.asdict(type(case.family)())
    asked = {field: value for field, value in values.items() if field in kind.model_fields and value is not None}
    lacking = [field for field in values if field not in kind.model_fields and values[field] != defaults[field]]
    return None if lacking else (str(kind.model_fields["name"].default), asked)


SHARED = tuple(case for case in CASES if case.tokenizer and not case.images and configuration(case) is not None)
"""The cases of text whose model has a tokenizer in the reference, and whose options `renderers` has."""


_ALSO = ("<|media_begin|>", "<|media_content|>", "<|media_pad|>", "<|media_end|>", "<tool_call>", "</tool_call>")
"""Specials that `renderers` wants of a vocabulary though it is to render no media, or has them as text."""
_ON_STAND_IN = ("llama-3",)
"""Families whose tokenizer in the reference lacks a special that `renderers` wants."""


@lru_cache(maxsize=2)
def _tokenizer(place: Path | None, specials: tuple[str, ...]) -> tuple[PreTrainedTokenizerFast, VocabularyEncoder]:
    """A tokenizer for them and for us; the vocabulary that isc carries where the reference has no tokenizer.json."""
    if place is None:
        backend, encoder = stand_in(specials), embedded(specials)
    else:
        backend, encoder = tokenizer_of(place), from_file(place / "tokenizer.json")
    return PreTrainedTokenizerFast(tokenizer_object=backend), encoder  # type: ignore[no-untyped-call]  # so it is


def sides(case: Case, reference: Path) -> Sides:
    """Both sides of a case."""
    asked = configuration(case)
    assert asked is not None
    name, fields = asked
    files = reference / "tokenizers" / case.tokenizer
    known = (files / "tokenizer.json").is_file() and family_name(case.family) not in _ON_STAND_IN
    place = files if known else None
    specials = tuple(dict.fromkeys((*case.family.specials, *_ALSO)))
    tokenizer, encoder = _tokenizer(place, () if place else specials)
    tokenizer.chat_template = (reference / "templates" / case.template).read_text(encoding="utf-8")
    tokenizer.bos_token, tokenizer.eos_token = case.bos_token or None, case.eos_token or None
    family = family_of(CONFIGS[name](**fields), tokenizer, encoder, {})
    kinds = {k.model_fields["name"].default: k for k in vars(renderers.configs).values() if _names_a_format(k)}
    ours = isc.create_renderer(encoder, family, thinking_retention=implied_retention(family))
    main = _main(family)
    os.environ.setdefault("TIKTOKEN_ENCODINGS_BASE", _ranks(reference))
    return Sides(
        case,
        FamilyRenderer.of(ours),
        renderers.create_renderer(tokenizer, kinds[name](**fields)),
        FamilyRenderer.of(structs.replace(ours, body_specials="parse")),
        FamilyRenderer.of(structs.replace(isc.create_renderer(encoder, main), body_specials="parse")) if main else None,
        FamilyRenderer.of(isc.create_renderer(encoder, case.family, body_specials="parse")),
        (case if place else structs.replace(case, tokenizer="")).reference(reference),
    )


@lru_cache(maxsize=1)
def _ranks(reference: Path) -> str:
    """A directory with the vocabulary of Harmony, which `renderers` reads through openai-harmony."""
    place = Path(tempfile.mkdtemp(prefix="harmony"))
    write_harmony_ranks(reference, place)
    return str(place)


def _main(family: isc.Family) -> isc.Family | None:
    """The main variant with a family's options; None where it is the main variant, or has other options."""
    if not hasattr(family, "variant"):
        return None
    main = type(family)().variant  # type: ignore[attr-defined]  # it has one
    try:
        found: isc.Family = structs.replace(family, variant=main)
    except isc.errors.OptionError:
        return None
    return found if found != family else None


def _names_a_format(kind: object) -> bool:
    base = renderers.configs.BaseRendererConfig
    return isinstance(kind, type) and issubclass(kind, base) and "name" in kind.model_fields


def conversations(case: Case, count: int) -> Iterator[tuple[int, Conversation]]:
    """Random conversations of a case's shape, by seed."""
    for seed in range(count):
        yield seed, Writer(random.Random(seed), case.shape()).conversation()


def turns(both: Sides, count: int) -> Iterator[tuple[int, Turn]]:
    """Assistant turns of random conversations after a query, whole, cut off, and ended by another stop; by seed."""
    for seed, (messages, tools) in conversations(both.case, count):
        source = random.Random(seed)
        for place, message in enumerate(messages):
            if message["role"] == "assistant" and any(before["role"] == "user" for before in messages[:place]):
                turn = _turn(both, [*messages], tools, place, source)
                if turn is not None:
                    yield seed, turn
                    cut = source.randrange(len(turn.completion_ids)) if turn.completion_ids else 0
                    yield seed, structs.replace(turn, completion_ids=turn.completion_ids[:cut])
                    yield from ((seed, other) for other in _stopped_otherwise(both, turn))


def _stopped_otherwise(both: Sides, turn: Turn) -> Iterator[Turn]:
    """The turn with the last of the format's stop tokens in place of its close."""
    close, *others = both.ours.get_stop_token_ids()
    if others and turn.completion_ids[-1:] == [close]:
        yield structs.replace(turn, completion_ids=[*turn.completion_ids[:-1], others[-1]])


def _turn(
    both: Sides,
    messages: list[Mapping[str, Any]],
    tools: list[dict[str, Any]] | None,
    place: int,
    source: random.Random,
) -> Turn | None:
    try:
        prompt_ids = both.ours.render_ids(messages[:place], tools=tools, add_generation_prompt=True)
        sampled = sampled_ids(both.ours.renderer, convert.chat(messages, tools), place, prompt_ids)
    except isc.Error:  # not every format takes every beginning of a conversation
        return None
    following = messages[place + 1 :]
    ends = [k for k, message in enumerate(following) if message["role"] not in ("user", "tool")]
    following = following[: ends[0]] if ends else following
    written = {"role": source.choice(("tool", "user")), "content": Writer(source, both.case.shape()).text()}
    return Turn(tuple(messages[:place]), tools, prompt_ids, list(sampled), following or [written])
