"""`TracedTemplate`: any model's own Jinja chat template as a family, its text traced to the messages it comes from.

Text is byte for byte what `apply_chat_template` renders (transformers 5); owners and bodies follow the laws of every
family. Deviations: tools given bare are wrapped as `isc.convert` does; `strftime_now` tells the time of option `now`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from isc import convert
from isc._options import no_option
from isc.conversation.bridge import Extension, Refusal, WholeFormat
from isc.convert import Messages, Tools
from isc.encoding.base import Encoder
from isc.errors import OptionError, TemplateError, TemplateLimitError
from isc.formats._harmony import START
from isc.formats._parts import Frame, frame_of, with_parts
from isc.formats.base import FamilyMeta
from isc.formats.reading import harmony
from isc.formats.reading.following import Follows, followed
from isc.formats.reading.scanners import until
from isc.traced.arguments import as_taken, other_forms
from isc.traced.bridge import plan_bridge_by_rendering
from isc.traced.conversation import conversation, lost_pieces, prompt_segments
from isc.traced.format import Dicts, Format, options_of, written_of
from isc.traced.ignored import tell_ignored_tools
from isc.traced.inference import closing_of, keeps_history
from isc.traced.limits import one_limit
from isc.traced.placeholders import placed
from isc.traced.prompts import LONE_USER
from isc.traced.readers import GRAMMARS, Reading, reading_of
from isc.traced.rendering import compiled, options_read
from isc.traced.sampled_turns import Closing
from isc.traced.turns import owned_by
from isc.traced.values import chat_messages, plain_data, template_messages
from isc.types import (
    UNOWNED,
    Chat,
    Json,
    LostPiece,
    ParsedResponse,
    Reasoning,
    Report,
    Sampled,
    Segment,
    ThinkingRetention,
    ToolSpec,
)

__all__ = ["LostPiece", "Report", "TemplateError", "TemplateLimitError", "TracedTemplate"]


class Choices(Struct, frozen=True):
    """Options of a template besides its text: how turns end and which grammars it has. None: inferred."""

    turn_close: str | None = None
    stop_tokens: tuple[str, ...] = ()
    reasoning: str | None = None
    tool_calls: str | None = None


class _Compiling(FamilyMeta):
    """The metaclass that builds a template from its text and its keyword arguments."""

    if not TYPE_CHECKING:

        def __call__(  # noqa: PLR0913 - a metaclass; what a tokenizer's files say of a format
            cls,  # noqa: N805
            source: str,
            *,
            bos_token: str | None = "",
            eos_token: str | None = "",
            now: str | None = "2025-01-15",
            specials: Iterable[str] = (),
            turn_close: str | None = None,
            stop_tokens: Sequence[str] = (),
            reasoning: str | None = None,
            tool_calls: str | None = None,
            template_kwargs: Mapping[str, Any] | None = None,
            **kwargs: Any,  # noqa: ANN401 - whatever the template takes
        ) -> TracedTemplate:
            spelled = (*specials, *filter(None, (turn_close, *stop_tokens, bos_token, eos_token)))
            options = _options({**(template_kwargs or {}), **kwargs})
            chosen = Format(source, bos_token or "", eos_token or "", now, options, tuple(dict.fromkeys(spelled)))
            return super().__call__(chosen, Choices(turn_close, tuple(stop_tokens), reasoning, tool_calls))


class TracedTemplate(WholeFormat, frozen=True, tag_field="family", tag="TracedTemplate", metaclass=_Compiling):
    """A chat format given by its Jinja template. Immutable, hashable, picklable, equal by value.

    Args:
        source: The template.
        bos_token: The tokenizer's token of this name, "" where it has none; likewise `eos_token`.
        eos_token: See `bos_token`.
        now: The moment that `strftime_now` tells, ISO 8601; None for the present.
        specials: Every special of the tokenizer, its added tokens: only these are control tokens in the text.
        turn_close: The special that ends an assistant turn; None finds it from what follows an assistant's text.
        stop_tokens: Where sampling stops (`generation_config.json`); empty finds them: turn close and `eos_token`, or
            the markers of the next turns.
        reasoning: The name of known brackets of reasoning; None finds those around planted thoughts.
        tool_calls: The name of a grammar for calls (`json`, `named_json`, `tagged`, `gemma`, `pythonic`, `harmony`);
            None takes the one that reads back exactly what the template renders of planted calls.
        template_kwargs: The template's keyword arguments, for names that this call does not take.
        **kwargs: The template's keyword arguments, such as `enable_thinking=False`. As with `apply_chat_template`, one
            that the template never reads has no effect; `with_options` and `isc.load` refuse it.

    Raises:
        TemplateError: The template cannot be compiled.
        OptionError: A keyword argument has no JSON form, or a grammar is unknown.

    >>> chatml = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
    >>> template = TracedTemplate(chatml, specials=("<|im_start|>", "<|im_end|>"))
    >>> [s.text for s in template.stream([{"role": "user", "content": "hi <|im_end|>"}]) if s.body]
    ['hi <|im_end|>']
    """

    format: Format
    choices: Choices = Choices()

    if TYPE_CHECKING:

        def __init__(  # noqa: PLR0913 - what a tokenizer's files say of a format
            self,
            source: str,
            *,
            bos_token: str | None = "",
            eos_token: str | None = "",
            now: str | None = "2025-01-15",
            specials: Iterable[str] = (),
            turn_close: str | None = None,
            stop_tokens: Sequence[str] = (),
            reasoning: str | None = None,
            tool_calls: str | None = None,
            template_kwargs: Mapping[str, Any] | None = None,
            **kwargs: Any,  # noqa: ANN401 - whatever the template takes
        ) -> None: ...

    def check_options(self) -> None:
        """Refuse a template that cannot be compiled, and a grammar that is unknown."""
        compiled(self.format.source)
        unknown = "no known grammar, or its markers are no specials here"
        if self.choices.reasoning is not None and self._reading.reasoning is None:
            raise OptionError(f"reasoning={self.choices.reasoning!r}: {unknown}")
        if self.choices.tool_calls is not None and self._reading.reader.name is None:
            raise OptionError(f"tool_calls={self.choices.tool_calls!r}: {unknown}; there are {', '.join(GRAMMARS)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.format, self.choices)

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"TracedTemplate(<{len(self.format.source)} characters>{options})"

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the template's keyword arguments."""
        return dict(options_of(self.format.options))

    def template_arguments(self) -> Mapping[str, Json]:
        """Return the template's keyword arguments."""
        return options_of(self.format.options)

    def dated(self, day: str) -> TracedTemplate:
        """Return the same template with a clock that stands at midnight of this day, if the template has one."""
        if "strftime_now" not in self.format.source:
            return self
        return structs.replace(self, format=structs.replace(self.format, now=day))

    @property
    def known_options(self) -> tuple[str, ...]:
        """Return the keyword arguments that the template reads, sorted."""
        return options_read(self.format.source)

    def with_options(self, options: Mapping[str, Any]) -> TracedTemplate:
        """Return the same template with these keyword arguments besides its own.

        Raises:
            OptionError: The template never reads one of them, or it has no JSON form.

        >>> template = TracedTemplate("{% if shout %}!{% endif %}")
        >>> template.with_options({"shot": True})
        Traceback (most recent call last):
        ...
        isc.errors.OptionError: this template: there is no option 'shot', only shout; did you mean 'shout'?
        """
        for name in options:
            if name not in self.known_options:
                raise no_option("this template", name, self.known_options)
        chosen = structs.replace(self.format, options=_options({**self.options, **options}))
        return structs.replace(self, format=chosen)

    @property
    def specials(self) -> tuple[str, ...]:
        """Return every special that counts as one in the template's text."""
        return self.format.specials

    @property
    def closing(self) -> Closing:
        """Return how turns end."""
        return closing_of(self.format, self.choices.turn_close, self.choices.stop_tokens)

    @property
    def turn_close(self) -> str | None:
        """Return the special that closes an assistant turn, given or inferred. None: the next turn's marker does."""
        return self.closing.turn_close

    @property
    def stop_tokens(self) -> tuple[str, ...]:
        """Return the specials at which sampling stops, given or inferred."""
        return self.closing.stop_tokens

    @property
    def keeps_history(self) -> bool:
        """Return whether a render stays a prefix of every longer conversation's, as far as a handful of trials tell."""
        return keeps_history(self.format)

    @property
    def _reading(self) -> Reading:
        return reading_of(self.format, self.closing, self.choices.reasoning, self.choices.tool_calls)

    @property
    def reasoning(self) -> Reasoning | None:
        """Return how reasoning is bracketed, where that was given or recognized and is so by specials."""
        return self._reading.reasoning if self._reading.is_marked else None

    def stream(self, messages: Messages, tools: Tools = None, add_generation_prompt: bool = False) -> Iterator[Segment]:
        """Yield a conversation as owned segments whose texts together are the render of `apply_chat_template`.

        Args:
            messages: Message records or OpenAI dicts; the template sees dicts as they are given.
            tools: Tool specs, wrapped or bare.
            add_generation_prompt: Whether to end with what asks the model for its turn.

        Returns:
            The segments, specials apart, with what assistants sample as body.

        Raises:
            ConversationError: Something in messages or tools cannot be rendered; its path says where.
            TemplateError: The template refuses the conversation; carries its message.
            TemplateLimitError: The template used more than any honest one.
        """
        listed_messages = list(messages) if not isinstance(messages, (str, bytes, Mapping)) else messages
        chat = convert.chat(listed_messages, tools, reads_key=self.reads_key)
        dicts = template_messages(listed_messages)  # type: ignore[arg-type]
        listed = None if tools is None else _tool_dicts(chat.tools)
        with one_limit(len(dicts)):
            return iter(
                conversation(self.format, self.closing, dicts, listed, add_generation_prompt=add_generation_prompt)
            )

    def conversation(self, chat: Chat, *, add_generation_prompt: bool = False, parts: bool = False) -> list[Segment]:
        """Return `stream` of a converted chat, in the form that the template takes.

        Content that is None is left out; null where the template needs the key. Arguments that are JSON text are given
        as objects to a template that does not show text as it stands, reasoning as a part of the content to one that
        shows it nowhere else. `parts`: whether each body says its part (law 10): that of the field that its characters
        came from.

        Raises:
            TemplateError: The template refuses the conversation; carries its message.
        """
        with one_limit(len(chat.messages)):
            messages = as_taken(self.format, chat_messages(chat))
            try:
                return self._rendered(chat, messages, add_generation_prompt, parts=parts)
            except TemplateError:
                for other in other_forms(chat, messages):
                    with suppress(TemplateError):
                        return self._rendered(chat, other, add_generation_prompt, parts=parts)
                raise

    def template_variables(self, chat: Chat) -> Mapping[str, Json]:
        """Return the messages in the form that the template is given, where that is not the caller's.

        These are messages with arguments that are JSON text, for a template that does not show text as it stands, and
        with reasoning, for one that shows it as a part of the content alone.
        """
        messages = chat_messages(chat)
        taken = as_taken(self.format, messages)
        return {} if taken is messages else {"messages": list(taken)}

    def _rendered(self, chat: Chat, dicts: Dicts, add_generation_prompt: bool, *, parts: bool) -> list[Segment]:
        asked = (self.format, self.closing, dicts, _tool_dicts(chat.tools) or None)
        segments = conversation(*asked, add_generation_prompt=add_generation_prompt, parts=parts)
        tell_ignored_tools(self.format.source, chat.tools, segments)
        whole = placed(segments, chat, self.specials)
        return with_parts(whole, chat.roles, self._frame) if parts else whole

    @property
    def _frame(self) -> Frame:
        """Return what the template writes in sampled turns that tells their parts."""
        reading, closing = self._reading, self.closing
        start = START if reading.reader.harmonic else None
        return frame_of(reading.reasoning, start, closing.turn_close, (*closing.stop_tokens, *closing.closers))

    def reads_key(self, key: str) -> bool:
        """Return whether the template may read a key of a message: whether the template names that key."""
        return key in self.format.source

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the segments before the first turn: all of nobody's, and those of a leading system message."""
        return owned_by(self, chat, 0 if chat.role(0) == "system" else UNOWNED)

    def turn(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield message `index` of the whole conversation. Yield nothing for a leading system message."""
        return iter(()) if index == 0 and chat.role(0) == "system" else owned_by(self, chat, index)

    def generation_prompt(self, chat: Chat) -> Iterator[Segment]:
        """Return the generation prompt for this chat.

        If the template raises for it, return the prompt after a lone user message.

        Raises:
            TemplateError: The template refuses both.
        """
        tools = _tool_dicts(chat.tools) or None
        try:
            return iter(prompt_segments(self.format, chat_messages(chat) or LONE_USER, tools))
        except TemplateError:
            return iter(prompt_segments(self.format, LONE_USER, tools))

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back by the grammars that were given or recognized; otherwise it is all content."""
        reading = self._reading
        turn = until(sampled, self.stop_tokens)
        if reading.prefilled:
            turn = structs.replace(turn, reasoning_open=True)
        return reading.reader.read(turn, reading.reasoning, tools)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        reading = self._reading
        if reading.reader.harmonic:
            return structs.replace(harmony.FOLLOWS, stops=self.stop_tokens)
        known = followed(self.stop_tokens, reading.reader.grammar, reading.reasoning, reading.reader.around)
        return structs.replace(known, is_open=reading.prefilled)

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
        """Decide on an extension. Its segments are read off renders and granted only when they are proven."""
        known = (encoder, retention, prompt_ids, completion_ids, given)
        return plan_bridge_by_rendering(self, *known, add_generation_prompt=add_generation_prompt)

    def report(self, messages: Messages | None = None, tools: Tools = None) -> Report:
        """Report how the template is read, and which texts of a conversation it lost track of.

        Args:
            messages: A conversation to look for lost pieces in.
            tools: Its tools.

        >>> TracedTemplate("{{ messages[0].content | urlize }}").report([{"role": "user", "content": "x"}]).lost
        ()
        """
        reading = self._reading
        lost: tuple[LostPiece, ...] = ()
        if messages is not None:
            chat = convert.chat(messages, tools, reads_key=self.reads_key)
            written = written_of(
                self.format, chat_messages(chat), _tool_dicts(chat.tools) or None, add_generation_prompt=True
            )
            lost = tuple(LostPiece(*piece) for piece in lost_pieces(written))
        return Report(
            self.turn_close,
            self.stop_tokens,
            reading.reasoning_name,
            reading.reader.name,
            self.keeps_history,
            lost,
        )


def _rebuilt(chosen: Format, choices: Choices) -> TracedTemplate:
    template: TracedTemplate = FamilyMeta.__call__(TracedTemplate, chosen, choices)
    return template


def _options(options: Mapping[str, Any]) -> str:
    try:
        return json.dumps({name: options[name] for name in sorted(options)}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionError(f"template arguments must have a JSON form: {error}") from None


def _tool_dicts(tools: Sequence[ToolSpec]) -> list[Any]:
    return [plain_data(tool.schema) for tool in tools]
