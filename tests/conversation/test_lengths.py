"""Samples that are too long: whole exchanges are left out, as few as will do, and what is lost is said."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import isc
from isc.conversation.lengths import TooLong
from isc.encoding.encoders import embedded

SYSTEM = {"role": "system", "content": "Be brief."}
CALL: dict[str, Any] = {"id": "1", "function": {"name": "f", "arguments": "{}"}}


def exchange(number: int, words: int, called: bool = False) -> list[dict[str, Any]]:
    asked = {"role": "user", "content": f"question {number}"}
    calls: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "x"},
    ]
    return [asked, *(calls if called else []), {"role": "assistant", "content": " ".join(["word"] * words)}]


def tokens(renderer: isc.Renderer, chat: list[dict[str, Any]]) -> int:
    return len(isc.build_training_sample(renderer, chat).token_ids)


CHATS = st.tuples(st.booleans(), st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=5))
FAMILIES = (isc.Qwen3(), isc.Glm45())
RENDERERS = [isc.create_renderer(embedded(family.specials), family) for family in FAMILIES]


@pytest.mark.parametrize("renderer", RENDERERS, ids=[type(family).__name__ for family in FAMILIES])
@given(shape=CHATS, limit=st.integers(15, 120))
def test_the_first_exchanges_are_left_out_as_few_as_will_do(
    renderer: isc.Renderer, shape: tuple[bool, list[tuple[int, bool]]], limit: int
) -> None:
    """Held to a search through all that could be left out."""
    head = [SYSTEM] if shape[0] else []
    exchanges = [exchange(number, words, called) for number, (words, called) in enumerate(shape[1])]
    chats = [[*head, *chain.from_iterable(exchanges[count:])] for count in range(len(exchanges))]
    wanted = next((chat for chat in chats if tokens(renderer, chat) <= limit), None)
    if wanted is None:
        with pytest.raises(isc.TooLongError, match=r"last exchange|nothing"):
            isc.fit_training_samples(renderer, chats[0], max_tokens=limit, too_long="truncate-left-turns")
        return
    fitted = isc.fit_training_samples(renderer, chats[0], max_tokens=limit, too_long="truncate-left-turns")
    whole, sample = (isc.build_training_sample(renderer, chat) for chat in (chats[0], wanted))
    assert fitted.samples == (sample,)
    assert fitted.lost.messages == len(chats[0]) - len(wanted)
    assert fitted.lost.tokens == len(whole.token_ids) - len(sample.token_ids)
    assert fitted.lost.trained == whole.trainable_tokens - sample.trainable_tokens
    assert fitted.lost.samples == (wanted is not chats[0])


@pytest.mark.parametrize("renderer", RENDERERS, ids=[type(family).__name__ for family in FAMILIES])
@given(shape=CHATS, limit=st.integers(30, 120))
def test_a_split_has_every_exchange_once_and_no_more_samples_than_it_needs(
    renderer: isc.Renderer, shape: tuple[bool, list[tuple[int, bool]]], limit: int
) -> None:
    head = [SYSTEM] if shape[0] else []
    exchanges = [exchange(number, words, called) for number, (words, called) in enumerate(shape[1])]
    chat = [*head, *chain.from_iterable(exchanges)]
    if any(tokens(renderer, head + one) > limit for one in exchanges):
        with pytest.raises(isc.TooLongError, match=r"begins at messages\[\d+\] by itself"):
            isc.fit_training_samples(renderer, chat, max_tokens=limit, too_long="split")
        return
    pieces: list[list[dict[str, Any]]] = []
    for one in exchanges:
        if pieces and tokens(renderer, head + pieces[-1] + one) <= limit:
            pieces[-1] += one
        else:
            pieces.append([*one])
    fitted = isc.fit_training_samples(renderer, chat, max_tokens=limit, too_long="split")
    assert fitted.samples == tuple(isc.build_training_sample(renderer, head + piece) for piece in pieces)
    assert (fitted.lost.messages, fitted.lost.tokens, fitted.lost.trained) == (0, 0, 0)


LONG = [SYSTEM, *exchange(0, 5), *exchange(1, 7), *exchange(2, 9)]


@pytest.mark.parametrize("limit", [1, 12, 30, 50, 74, 75, 500])
def test_truncate_right_keeps_the_first_tokens_and_their_attribution(small: isc.Renderer, limit: int) -> None:
    whole = isc.build_training_sample(small, LONG)
    if not any(whole.loss_mask[:limit]):
        with pytest.raises(isc.TooLongError, match="nothing that is trained on is left"):
            isc.fit_training_samples(small, LONG, max_tokens=limit, too_long="truncate-right")
        return
    fitted = isc.fit_training_samples(small, LONG, max_tokens=limit, too_long="truncate-right")
    (sample,) = fitted.samples
    assert sample.token_ids == whole.token_ids[:limit]
    assert sample.loss_mask == whole.loss_mask[:limit]
    assert sample.rendered.message_indices == whole.rendered.message_indices[:limit]
    assert fitted.lost.tokens == max(0, len(whole.token_ids) - limit)
    assert fitted.lost.trained == sum(whole.loss_mask[limit:])


def test_what_is_not_trained_on_stays_so_where_turns_are_left_out(small: isc.Renderer) -> None:
    mask = [0, 0, 1, 0, 0, 0, 1]
    options: dict[str, Any] = {"message_loss_mask": mask, "too_long": "truncate-left-turns"}
    fitted = isc.fit_training_samples(small, LONG, max_tokens=len(small.render(LONG)) - 1, **options)
    (sample,) = fitted.samples
    assert sample == isc.build_training_sample(small, [SYSTEM, *LONG[3:]], message_loss_mask=[0, 0, 0, 0, 1])
    mask[6] = 0
    with pytest.raises(isc.TooLongError, match="nothing that is trained on is left"):
        isc.fit_training_samples(small, LONG, max_tokens=len(small.render(LONG)) - 1, **options)


def test_a_system_message_that_is_trained_on_is_trained_on_once(small: isc.Renderer) -> None:
    options: dict[str, Any] = {"content_sft_roles": {"system"}, "too_long": "split"}
    fitted = isc.fit_training_samples(small, LONG, max_tokens=40, **options)
    roles = [[one.rendered.role(run) for run, (start, _) in one.rendered.spans() if one.loss_mask[start]]
             for one in fitted.samples]  # fmt: skip
    assert [found.count("system") for found in roles] == [1, *([0] * (len(roles) - 1))]
    assert len(roles) > 1


@pytest.mark.parametrize(
    ("too_long", "problem"), [("reject", "75 tokens, more than max_tokens = 20$"), ("x", "'reject'")]
)
def test_a_rejection_says_how_long_it_is(small: isc.Renderer, too_long: TooLong, problem: str) -> None:
    with pytest.raises((isc.TooLongError, isc.OptionError), match=problem):
        isc.fit_training_samples(small, LONG, max_tokens=20, too_long=too_long)
