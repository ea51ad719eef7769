"""What a chat format and a vocabulary are to isc: the protocols that families and encoders keep."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from isc.types import Chat, ParsedResponse, Reasoning, Sampled, Segments, ToolSpec


@runtime_checkable
class Family(Protocol):
    """One chat format: a frozen Struct whose fields are its options and whose tag is its name.

    Methods are pure and yield segments; no ids, masks or owners are known here. `turn_close` is the special that ends
    an assistant turn, None where the next role's marker does. `keeps_history`: no later message changes how an earlier
    one is rendered.

    Further members are optional. `ended(sampled)`: an `Ended` that tells where a completion stopped, for formats that
    close turns in several ways. `turn_start`: the special with which a prompt begins a turn, for formats whose turns
    are several messages, reasoning among them. `for_vocabulary(specials)`: the value for a vocabulary, for formats of
    which some markers may be tokens or text. `template_variables(chat)`: what the model's own tokenizer passes to its
    template besides. `placeholders_per_image`: tokens of an image, where these do not depend on its size.
    """

    @property
    def specials(self) -> tuple[str, ...]:
        """Every special the format spells, in the order an artificial vocabulary gives them ids."""

    @property
    def turn_close(self) -> str | None:
        """The special that closes an assistant turn."""

    @property
    def stop_tokens(self) -> tuple[str, ...]:
        """The specials at which sampling stops; without a turn close, the one that ends a conversation comes first."""

    @property
    def keeps_history(self) -> bool:
        """Whether a rendered conversation stays a prefix of every longer one."""

    @property
    def reasoning(self) -> Reasoning | None:
        """How reasoning is bracketed; None for formats without it."""

    def opening(self, chat: Chat) -> Segments:
        """What comes before the first turn: BOS, system, tools; a leading system message is rendered here."""

    def turn(self, chat: Chat, index: int) -> Segments:
        """Message `index`, empty for a leading system message."""

    def generation_prompt(self, chat: Chat) -> Segments:
        """What asks the model for the next turn."""

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """The inverse of `turn`: never raises."""


def has_reasoning(family: Family) -> bool:
    """Whether a format has reasoning: between markers, or in messages of its own."""
    return family.reasoning is not None or hasattr(family, "turn_start")
