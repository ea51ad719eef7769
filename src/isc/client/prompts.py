"""The prompt of a call: the ids that are sent, as they are written, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from isc.conversation.renderer import Renderer
from isc.convert import Messages, Tools
from isc.errors import OptionError
from isc.rendered import MultiModalData, RenderedTokens, ids_of


class Prompt(Struct, frozen=True):
    """The ids that are sent, as they are written, and what is known of them."""

    ids: tuple[int, ...]
    attribution: RenderedTokens | None
    json: Raw

    @property
    def media(self) -> MultiModalData | None:
        """Return the media of the prompt, where any are known."""
        return None if self.attribution is None else self.attribution.multi_modal_data


def prompt_of(
    renderer: Renderer,
    messages: Messages | None,
    tools: Tools,
    prompt_ids: Sequence[int] | None,
    attribution: RenderedTokens | None,
) -> Prompt:
    """Return the prompt that was given, in whichever way.

    Raises:
        OptionError: There is none, or there are two.
        ConversationError: Something in messages or tools cannot be rendered.
    """
    if messages is not None:
        if prompt_ids is not None or attribution is not None:
            raise OptionError("pass messages, or prompt_ids with their prompt_attribution, not both")
        attribution = renderer.render(messages, tools, add_generation_prompt=True)
    elif prompt_ids is None and attribution is None:
        raise OptionError("there is nothing to ask: pass messages, or prompt_ids")
    ids = _checked_ids(prompt_ids) if prompt_ids is not None else () if attribution is None else attribution.token_ids
    if attribution is not None and attribution.token_ids != ids:
        raise OptionError("prompt_attribution is of other ids than prompt_ids")
    if not ids:
        raise OptionError("the prompt has no tokens")
    return Prompt(ids, attribution, Raw(msgspec.json.encode(ids)))


def _checked_ids(prompt_ids: Sequence[int]) -> tuple[int, ...]:
    """Return the ids as plain integers, whatever sequence they came in."""
    ids = ids_of(prompt_ids, "prompt_ids")
    if ids and not 0 <= min(ids) <= max(ids) < 2**31:
        raise OptionError(f"prompt_ids must be token ids: {min(ids)} to {max(ids)} are not")
    return ids
