"""Training samples as `renderers` has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import isc
from isc.compat.lenient import leniently
from isc.compat.renderer import FamilyRenderer
from isc.compat.tokens import MultiModalData, PlaceholderRange, RenderedTokens
from isc.convert import Messages, Tools
from isc.errors import OptionError


@dataclass(frozen=True)
class RenderedTrainingSample:
    """Ids, and for each whether it is trained on."""

    token_ids: list[int]
    loss_mask: list[bool]
    multi_modal_data: MultiModalData | None = None
    mm_token_type_ids: list[int] | None = None


def build_training_sample(
    renderer: FamilyRenderer,
    messages: Sequence[Mapping[str, Any]],
    *,
    role_to_mask: Callable[[Mapping[str, Any]], bool] | None = None,
    tools: Tools = None,
    content_sft_roles: Collection[str] | None = None,
    ensure_final_stop: bool = False,
    message_loss_mask: Sequence[bool | int] | None = None,
) -> RenderedTrainingSample:
    """Return a conversation with the tokens to train on: what is sampled, and the content of `content_sft_roles`.

    Args:
        renderer: Format and vocabulary.
        messages: OpenAI dicts.
        role_to_mask: Of which messages what is sampled is trained on; None for all. Other than `isc`'s it never adds a
            message that is not an assistant's.
        tools: Tool specs.
        content_sft_roles: Roles whose content is trained on besides.
        ensure_final_stop: Add the stop token that a last assistant turn of this format is left without.
        message_loss_mask: One truth value a message; a false one takes the message out.

    Raises:
        OptionError: `message_loss_mask` has not one truth value a message, or a role does not exist.
        ConversationError: Something cannot be rendered.
    """
    given, body_roles = list(messages), frozenset(content_sft_roles or ())
    mask = [True] * len(given) if message_loss_mask is None else _checked(message_loss_mask, len(given))
    if role_to_mask is not None and "assistant" not in body_roles:
        mask = [
            bool(wanted) and (message.get("role") != "assistant" or bool(role_to_mask(message)))
            for wanted, message in zip(mask, given, strict=True)
        ]
    sample = leniently(partial(_sample, renderer, body_roles, mask, ensure_final_stop), given, tools)
    media = RenderedTokens.of(sample.rendered).multi_modal_data
    return RenderedTrainingSample(list(sample.token_ids), list(sample.loss_mask), media)


def _checked(mask: Sequence[bool | int], count: int) -> list[bool]:
    """Return a mask of so many truth values. Each may be False, True, 0 or 1.

    Raises:
        OptionError: It is not.
    """
    if len(mask) != count:
        raise OptionError(f"message_loss_mask has {len(mask)} values for {count} messages; give one a message")
    for place, value in enumerate(mask):
        if type(value) not in (bool, int) or value not in (0, 1):
            raise OptionError(f"message_loss_mask[{place}] is {value!r}: it must be False, True, 0 or 1")
    return [bool(value) for value in mask]


def _sample(
    renderer: FamilyRenderer,
    body_roles: frozenset[str],
    mask: Sequence[bool],
    ensure_final_stop: bool,
    messages: Messages,
    tools: Tools,
) -> isc.TrainingSample:
    return isc.build_training_sample(
        renderer.renderer, messages, tools, None, body_roles, mask, ensure_final_stop=ensure_final_stop
    )


_TYPES = {"image": 1, "video": 2}


def mm_token_type_ids(placeholders: Mapping[str, Sequence[PlaceholderRange]], length: int) -> list[int]:
    """Return for each of `length` tokens what it stands for: 1 for an image, 2 for a video, 0 for itself.

    >>> mm_token_type_ids({"image": [PlaceholderRange(1, 2)]}, 4)
    [0, 1, 1, 0]
    """
    types = [0] * length
    for modality, ranges in placeholders.items():
        for place in ranges:
            stop = min(place.offset + place.length, length)
            types[place.offset : stop] = [_TYPES.get(modality, 0)] * max(0, stop - place.offset)
    return types


def build_trajectory_step(
    renderer: FamilyRenderer,
    prompt_messages: Sequence[Mapping[str, Any]],
    completion_messages: Sequence[Mapping[str, Any]],
    *,
    tools: Tools = None,
) -> dict[str, Any]:
    """Return a rollout kept as messages, as the ids its sampler saw.

    Nothing was sampled here, so no log probability is known: each is NaN, in the place of the number it stands for.

    Raises:
        TrajectoryError: The format rewrites earlier turns somewhere in the rollout.
        ConversationError: Something cannot be rendered.
    """
    step = isc.build_trajectory_step(renderer.renderer, prompt_messages, completion_messages, tools)
    return {
        "prompt_ids": list(step.prompt_ids),
        "prompt_mask": list(step.prompt_mask),
        "completion_ids": list(step.completion_ids),
        "completion_mask": list(step.completion_mask),
        "completion_logprobs": [math.nan] * len(step.completion_ids),
        "routed_experts": None,
        "sampling_mask": None,
    }
