"""`NamedTemplates`: a model's chat template for chats with tools and its other one, as one format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from isc import convert
from isc._options import no_option
from isc.conversation.bridge import Extension, Refusal, WholeFormat
from isc.convert import Messages, Tools
from isc.encoding.base import Encoder
from isc.formats.reading.following import Follows
from isc.traced.template import TracedTemplate
from isc.types import (
    Chat,
    Json,
    ParsedResponse,
    Reasoning,
    Report,
    Sampled,
    Segment,
    ThinkingRetention,
    ToolSpec,
)


def one_format(without_tools: str, with_tools: str, build: Callable[[str], TracedTemplate]) -> WholeFormat:
    """Make a format of the templates of chats without and with tools; a template alone where they are the same."""
    template = build(without_tools)
    return template if with_tools == without_tools else NamedTemplates(template, build(with_tools))


class NamedTemplates(WholeFormat, frozen=True, tag_field="family", tag="NamedTemplates"):
    """Two templates of one model, `default` and `tool_use`: each chat is rendered by that which transformers chooses.

    A chat with tools is rendered by `tool_use`. No tools and an empty list of tools are the same here, while
    transformers takes `tool_use` for the empty list too.

    Args:
        without_tools: What renders chats without tools.
        with_tools: What renders chats with tools.

    >>> from isc.types import Chat, ToolSpec, UserMessage
    >>> both = NamedTemplates(TracedTemplate("plain"), TracedTemplate("{{ tools[0].function.name }}"))
    >>> tool = ToolSpec({"type": "function", "function": {"name": "f"}})
    >>> [segment.text for tools in ((), (tool,)) for segment in both.conversation(Chat((UserMessage("x"),), tools))]
    ['plain', 'f']
    """

    without_tools: TracedTemplate
    with_tools: TracedTemplate

    def __repr__(self) -> str:
        return f"NamedTemplates({self.without_tools!r}, {self.with_tools!r})"

    @property
    def _both(self) -> tuple[TracedTemplate, TracedTemplate]:
        return self.without_tools, self.with_tools

    def _of(self, tools: Sequence[ToolSpec]) -> TracedTemplate:
        return self.with_tools if tools else self.without_tools

    @property
    def specials(self) -> tuple[str, ...]:
        """Return every special that counts as one in the text of either template."""
        return _joined(template.specials for template in self._both)

    @property
    def turn_close(self) -> str | None:
        """Return the special that closes an assistant turn in both templates, or None where they differ."""
        closes = {template.turn_close for template in self._both}
        return closes.pop() if len(closes) == 1 else None

    @property
    def stop_tokens(self) -> tuple[str, ...]:
        """Return the specials at which sampling stops in one of the templates."""
        return _joined(template.stop_tokens for template in self._both)

    @property
    def keeps_history(self) -> bool:
        """Return whether a rendered conversation stays a prefix of every longer one in both templates."""
        return all(template.keeps_history for template in self._both)

    @property
    def reasoning(self) -> Reasoning | None:
        """Return how reasoning is bracketed, in chats without tools first."""
        return self.without_tools.reasoning or self.with_tools.reasoning

    @property
    def known_options(self) -> tuple[str, ...]:
        """Return the keyword arguments that one of the templates reads, sorted."""
        return tuple(sorted({name for template in self._both for name in template.known_options}))

    def with_options(self, options: Mapping[str, Any]) -> NamedTemplates:
        """Return the same templates with these keyword arguments, each with those that it reads.

        Raises:
            OptionError: Neither template reads one of them, or it has no JSON form.
        """
        for name in options:
            if name not in self.known_options:
                raise no_option("these templates", name, self.known_options)
        changed = [
            template.with_options({name: options[name] for name in options if name in template.known_options})
            for template in self._both
        ]
        return NamedTemplates(*changed)

    def template_arguments(self) -> Mapping[str, Json]:
        """Return the keyword arguments of both templates."""
        return {**self.without_tools.template_arguments(), **self.with_tools.template_arguments()}

    def template_variables(self, chat: Chat) -> Mapping[str, Json]:
        """Return what the template that the tools choose is given in place of what the caller gave."""
        return self._of(chat.tools).template_variables(chat)

    def dated(self, day: str) -> NamedTemplates:
        """Return the same templates with clocks that stand at midnight of this day, if they have one."""
        return structs.replace(self, without_tools=self.without_tools.dated(day), with_tools=self.with_tools.dated(day))

    def reads_key(self, key: str) -> bool:
        """Return whether one of the templates may read a key of a message: whether one names that key."""
        return any(key in template.format.source for template in self._both)

    def conversation(
        self, chat: Chat, *, add_generation_prompt: bool = False, parts: bool = False
    ) -> Iterable[Segment]:
        """Yield a whole conversation by the template that its tools choose."""
        return self._of(chat.tools).conversation(chat, add_generation_prompt=add_generation_prompt, parts=parts)

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the segments before the first turn."""
        return self._of(chat.tools).opening(chat)

    def turn(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield message `index`."""
        return self._of(chat.tools).turn(chat, index)

    def generation_prompt(self, chat: Chat) -> Iterator[Segment]:
        """Yield the text that asks the model for the next turn."""
        return self._of(chat.tools).generation_prompt(chat)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back by the template that the tools choose.

        A call is read although no tools are given here, where only the template of chats with tools tells how.
        """
        return self._read_by(tools).parse(sampled, tools)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled, by the same template."""
        return self._read_by(tools).follows(tools)

    def _read_by(self, tools: tuple[ToolSpec, ...]) -> TracedTemplate:
        return self._of(tools) if self.without_tools.report().tool_calls else self.with_tools

    def plan_bridge(
        self,
        encoder: Encoder,
        retention: ThinkingRetention | None,
        prompt_ids: Sequence[int],
        completion_ids: Sequence[int],
        given: Chat,
        *,
        add_generation_prompt: bool = True,
    ) -> Extension | Refusal:
        """Decide on an extension by the template that the tools choose."""
        known = (encoder, retention, prompt_ids, completion_ids, given)
        return self._of(given.tools).plan_bridge(*known, add_generation_prompt=add_generation_prompt)

    def report(self, messages: Messages | None = None, tools: Tools = None) -> Report:
        """Report on the template that the tools choose, see `TracedTemplate.report`."""
        return self._of(() if tools is None else convert.tool_specs(tools)).report(messages, tools)


def _joined(columns: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for column in columns for text in column))
