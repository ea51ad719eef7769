"""The parsers of `renderers.parsers` by name: calls read from ids by isc's families, reasoning from text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Protocol

from isc.compat.responses import ParsedToolCall, ToolCallParseStatus, tool_calls
from isc.compat.tokenizer import encoder_of
from isc.encoding.fold import unfold
from isc.errors import OptionError
from isc.formats import catalogue

__all__ = [
    "REASONING_PARSERS",
    "TOOL_PARSERS",
    "DeepSeekV3ToolParser",
    "GlmToolParser",
    "ParsedToolCall",
    "Qwen3ToolParser",
    "Qwen35ToolParser",
    "ReasoningParser",
    "ThinkTextReasoningParser",
    "ToolCallParseStatus",
    "ToolParser",
    "get_reasoning_parser",
    "get_tool_parser",
]

_OPENER: Final = "<think>"
_CLOSER: Final = "</think>"


class ToolParser(Protocol):
    """Reads calls from a turn."""

    def extract(self, ids: list[int]) -> tuple[list[int], list[ParsedToolCall]]:
        """Return the ids before the calls, and the calls."""
        ...


class ReasoningParser(Protocol):
    """Reads reasoning from a text."""

    def extract(self, text: str) -> tuple[str | None, str]:
        """Return the reasoning, None where there is none, and the rest."""
        ...


class _FamilyToolParser:
    """Reads the calls of a format.

    Args:
        tokenizer: As for `create_renderer`.
    """

    family: ClassVar[str]

    def __init__(self, tokenizer: object) -> None:
        self._encoder = encoder_of(tokenizer)

    def extract(self, ids: Sequence[int]) -> tuple[list[int], list[ParsedToolCall]]:
        """Return the ids before the calls and what brackets them, and the calls, each with its status."""
        family = catalogue.list_families()[self.family]()
        calls = tool_calls(family.parse(unfold(ids, self._encoder), ()).tool_calls)
        spans = [call.token_span for call in calls if call.token_span is not None]
        if not spans:
            return list(ids), calls
        before, specials = list(ids[: spans[0][0]]), frozenset(self._encoder.specials.values())
        while before and before[-1] in specials:
            before.pop()
        return before, calls


class Qwen3ToolParser(_FamilyToolParser):
    """Reads JSON between `<tool_call>` markers."""

    family = "qwen3"


class Qwen35ToolParser(_FamilyToolParser):
    """Reads XML between `<tool_call>` markers."""

    family = "qwen3.5"


class GlmToolParser(_FamilyToolParser):
    """Reads a name, then keys and values."""

    family = "glm-4.5"


class DeepSeekV3ToolParser(_FamilyToolParser):
    """Reads JSON in a fence, in a section of calls."""

    family = "deepseek-v3"


class ThinkTextReasoningParser:
    """Reads what stands between `<think>` at the very start and `</think>`.

    Args:
        tokenizer: Without effect.
    """

    def __init__(self, tokenizer: object = None) -> None:
        """Take a tokenizer as every parser does."""

    def extract(self, text: str) -> tuple[str | None, str]:
        """Return the reasoning, None where the text begins with none, and the rest.

        >>> ThinkTextReasoningParser().extract("<think>so</think>4")
        ('so', '4')
        """
        thought, closer, rest = text.removeprefix(_OPENER).partition(_CLOSER)
        return (thought, rest) if text.startswith(_OPENER) and closer else (None, text)


TOOL_PARSERS: Final[Mapping[str, type[_FamilyToolParser]]] = {
    "qwen3": Qwen3ToolParser,
    "qwen3.5": Qwen35ToolParser,
    "glm": GlmToolParser,
    "deepseek-v3": DeepSeekV3ToolParser,
}
REASONING_PARSERS: Final[Mapping[str, type[ThinkTextReasoningParser]]] = {"think": ThinkTextReasoningParser}


def get_tool_parser(name: str, tokenizer: object) -> ToolParser:
    """Make the parser of calls of this name.

    Raises:
        OptionError: There is none.
        EncoderError: A tokenizer that isc does not know or cannot account for.
    """
    if name not in TOOL_PARSERS:
        raise OptionError(f"Unknown tool_parser {name!r}; there are {', '.join(TOOL_PARSERS)}")
    return TOOL_PARSERS[name](tokenizer)


def get_reasoning_parser(name: str, tokenizer: object) -> ReasoningParser:
    """Make the parser of reasoning of this name.

    Raises:
        OptionError: There is none.
    """
    if name not in REASONING_PARSERS:
        raise OptionError(f"Unknown reasoning_parser {name!r}; there are {', '.join(REASONING_PARSERS)}")
    return REASONING_PARSERS[name](tokenizer)
