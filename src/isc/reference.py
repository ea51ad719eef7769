"""The model's own files as an independent reference: its template by plain Jinja, its ids by `tokenizers`.

Nothing of isc's tracing or folding is used here, so that the two can be held against each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isc.errors import ConversationError
from isc.laws import Conversation
from isc.types import Json, Span

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.ext import Extension
    from jinja2.parser import Parser
    from tokenizers import Tokenizer


class FileReference:
    """A chat template and a tokenizer.json, taken as `apply_chat_template` takes them (transformers 5).

    Args:
        template: The text of the chat template.
        tokenizer: Where tokenizer.json lies.
        options: The template's keyword arguments, `bos_token` and `eos_token` among them.
        now: The moment that `strftime_now` tells.
    """

    def __init__(self, template: str, tokenizer: Path, options: Mapping[str, Json], now: datetime) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self.options = options
        self.now = now

    @cached_property
    def _compiled(self) -> Template:
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag(), loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = self.now.strftime
        return environment.from_string(self.template)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.tokenizer))

    def text(self, conversation: Conversation, *, add_generation_prompt: bool) -> str:
        """What the template renders.

        Raises:
            ConversationError: The template refuses the conversation, or cannot render it.
        """
        messages, tools = conversation
        given = {
            "messages": [_with_reasoning(message) for message in messages],
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return self._compiled.render(**self.options, **given)
        except Exception as error:  # whatever a template runs into with what it was not written for
            raise ConversationError("messages", f"the chat template refuses them: {error}") from error

    def encode(self, text: str) -> tuple[Sequence[int], Sequence[Span]]:
        """Ids of a text, specials recognized, and the characters each came from."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        return found.ids, found.offsets


def _with_reasoning(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reasoning under both names that templates read it by."""
    names = ("reasoning_content", "thinking", "reasoning")
    found = next((message[name] for name in names if message.get(name) is not None), None)
    return message if found is None else {"thinking": found, **message, "reasoning_content": found}


def _tojson(value: Any, ensure_ascii: bool = False, **layout: Any) -> str:  # noqa: ANN401 - the filter's own arguments
    return json.dumps(value, ensure_ascii=ensure_ascii, **layout)


def _raise(message: str) -> str:
    raise ValueError(message)


def _generation_tag() -> type[Extension]:
    """`{% generation %}`, which renders its body; Jinja is imported only where a template is rendered."""
    from jinja2 import nodes
    from jinja2.ext import Extension

    class Generation(Extension):
        """The tag with which templates mark what the model says."""

        tags = {"generation"}

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("rendered"), [], [], body).set_lineno(line)

        @staticmethod
        def rendered(caller: Callable[[], str]) -> str:
            return caller()

    return Generation
