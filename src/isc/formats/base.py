"""`Family`, the base of every chat format, written by hand or traced."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, final

from msgspec import Struct, StructMeta, structs, to_builtins

from isc._later import Later
from isc._options import check_fields, no_option
from isc.formats._parts import Frame, frame_of
from isc.formats._shape import ANY, Shape, asked
from isc.formats._turns import Turn, Turns, cut_turn, given_turn
from isc.formats.segments import opening_owner
from isc.types import (
    UNOWNED,
    AssistantMessage,
    Chat,
    Ended,
    Json,
    ParsedResponse,
    Reasoning,
    Role,
    Sampled,
    Segment,
    Segments,
    ToolSpec,
    UserMessage,
)

if TYPE_CHECKING:
    from isc.formats.reading.following import Follows
    from isc.formats.reading.grammars import Around, Grammar
else:
    Follows = Around = Grammar = Later  # what reads turns is loaded where one is read


class FamilyMeta(StructMeta, ABCMeta):
    """The metaclass that makes families Structs and refuses a value of one that lacks a member."""


class Family(Struct, frozen=True, metaclass=FamilyMeta):
    """One chat format: a frozen Struct whose fields are its template's options and whose tag is its name.

    Methods are pure and yield segments; no ids or masks are known here. A value is checked on construction, when it is
    decoded and when it is replaced: an option of another type or outside of its `Literal` is an `OptionError`.

    To write a family, subclass this, frozen and with a tag. The members without a default are `specials`, `turn_close`,
    `stop_tokens`, `keeps_history`, `reasoning`, `opening`, `turn`, `generation_prompt` and `parse`; a class attribute
    will do for the first five. All others have a default that suits most formats.

    Raises:
        OptionError: An option has a value that it cannot have; says which it can.

    >>> from isc import Qwen3
    >>> Qwen3(enable_thinking="false")
    Traceback (most recent call last):
    ...
    isc.errors.OptionError: qwen3: enable_thinking='false' must be True or False; did you mean False?
    """

    turn_start: ClassVar[str | None] = None
    """The special with which a prompt begins a turn, in formats whose turns are messages, reasoning among them."""

    tells_ending: ClassVar[bool] = False
    """Whether `ended` says where a completion stopped, which formats that close turns in several ways have to."""

    text_markers: ClassVar[tuple[str, ...]] = ()
    """Markers that the format spells as ordinary text, so that a caller's text can forge them; see `body_specials`."""

    answer_markers: ClassVar[tuple[str, ...]] = ()
    """What an answer begins with where it is a tool call, in formats whose calls are ordinary text."""

    sorts_arguments: ClassVar[bool] = False
    """Whether the keys of arguments are written in an order of the format's own, so that a call reads back in that."""

    tells_kinds: ClassVar[bool] = True
    """Whether an argument tells its kind wherever it stands. Where all is tags and text, what is empty does not."""

    placeholders_per_image: ClassVar[int | None] = None
    """How many tokens stand for an image, where that does not depend on its size."""

    ships_template: ClassVar[bool] = True
    """Whether the format's models ship a chat template. One that ships none is known by its name or its kind."""

    extra_roles: ClassVar[tuple[Role, ...]] = ()
    """Roles that the format has turns for and most formats do not: `latest_reminder`."""

    one_prompt: ClassVar[bool] = False
    """Whether the generation prompt is the same in every chat: a render then asks for it once, not once an answer."""

    @property
    @abstractmethod
    def specials(self) -> tuple[str, ...]:
        """Return every special the format spells, in the order an artificial vocabulary gives them ids."""

    @property
    @abstractmethod
    def turn_close(self) -> str | None:
        """Return the special that closes an assistant turn, or None where the next role's marker does."""

    @property
    @abstractmethod
    def stop_tokens(self) -> tuple[str, ...]:
        """Return the specials at which sampling stops.

        Without a turn close, the one that ends a conversation comes first.
        """

    @property
    @abstractmethod
    def keeps_history(self) -> bool:
        """Return whether no later message changes how an earlier one is rendered."""

    def keeps_reasoning(self, chat: Chat) -> bool:
        """Return whether no later message drops the reasoning of an earlier one, with the tools that a chat offers."""
        return self.keeps_history or not self.has_reasoning

    @property
    @abstractmethod
    def reasoning(self) -> Reasoning | None:
        """Return how reasoning is bracketed, or None for formats without reasoning."""

    @abstractmethod
    def opening(self, chat: Chat) -> Segments:
        """Yield what comes first: BOS, the system turn. The owner is a leading system message, or nobody without one.

        A format whose system turn is always there, or holds the tools, says a leading system message here, and nothing
        in that message's `turn`. Others leave it to `turn`.
        """

    @abstractmethod
    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield message `index`. Yield nothing for a leading system message that the opening contains."""

    @abstractmethod
    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the text that asks the model for the next turn."""

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the generation prompt that turn `index` answers.

        By default that of a copy of the chat up to there, which costs as much as there are earlier messages. A format
        of long conversations says the same from the chat itself, or has `one_prompt`.
        """
        return self.generation_prompt(chat if self.one_prompt else chat.before(index))

    def turn_opening(self) -> Segments:
        """Return what a turn begins with that a user has asked for: the generation prompt.

        A format that gives none, so that the model writes it itself, says it here.
        """
        return self.generation_prompt(Chat((UserMessage("x"),), ()))

    @abstractmethod
    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Parse a sampled turn, as the inverse of `turn`. Never raises."""

    @property
    def grammar(self) -> Grammar | None:
        """Return how calls are spelled, where `parse` takes turns apart with `read_parts`; else None."""
        return None

    @property
    def around(self) -> Around:
        """Return what such turns have around content and calls."""
        from isc.formats.reading.grammars import NOTHING_AROUND

        return NOTHING_AROUND

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows | None:
        """Return what tells how a turn goes on while it is sampled, with these tools offered.

        By default what `grammar` says. Where that is None, a reader tells all of a turn at its end.
        """
        from isc.formats.reading.following import followed

        if self.grammar is None:
            return None
        return followed(self.stop_tokens, self.grammar, self.reasoning, self.around)

    @final
    def __post_init__(self) -> None:
        check_fields(self, name_of(type(self)))
        self.check_options()

    def check_options(self) -> None:
        """Refuse options that do not go together; each has been checked by its type before.

        Raises:
            OptionError: They do not.
        """

    def preamble(self, chat: Chat) -> Segments:
        """Yield segments between the opening and the first turn that are nobody's, whoever speaks first.

        Tools in a turn of their own are, and a default system message after them (law 2).
        """
        return ()

    def interlude(self, chat: Chat, index: int) -> Segments:
        """Yield segments that are nobody's before turn `index`, or after the last one where `index` is their number.

        For what a format says once between messages, such as how much to think.
        """
        return ()

    def with_options(self, options: Mapping[str, object]) -> Family:
        """Return the same format with these of its template's options, the others as they are.

        Raises:
            OptionError: There is no such option, or it cannot have this value.

        >>> from isc import Qwen3
        >>> Qwen3().with_options({"enable_thinking": False})
        Qwen3(enable_thinking=False, variant='hybrid')
        """
        fields = self.__struct_fields__
        for name in options:
            if name not in fields:
                raise no_option(name_of(type(self)), name, fields)
        return structs.replace(self, **options)

    def reads_key(self, key: str) -> bool:
        """Return whether the format reads a key of a message besides those that every format reads."""
        return False

    def conversation(
        self, chat: Chat, *, add_generation_prompt: bool = False, parts: bool = False
    ) -> Iterable[Segment]:
        """Yield a whole conversation as owned segments, the text that the model samples marked as body (laws 2 and 4).

        It is put together from `opening`, `preamble`, `interlude`, `turn` and `generation_prompt`; a format that cannot
        be rendered turn by turn gives its own. `parts`: whether each body says its part (law 10).
        """
        turns = _turns(self, chat, add_generation_prompt=add_generation_prompt)
        return Turns(turns, chat.roles, frame_in(self) if parts else None)

    def ended(self, sampled: Sampled) -> Ended:
        """Return how a completion ended and what completes it. Called only where `tells_ending`."""
        return Ended()

    def for_vocabulary(self, specials: Collection[str]) -> Family:
        """Return this family adapted to a vocabulary in which some of its markers are ordinary text."""
        return self

    def template_variables(self, chat: Chat) -> Mapping[str, Json]:
        """Return what the model's own tokenizer gives its template for a chat, besides or in place of the caller's."""
        return {}

    @property
    def day(self) -> str | None:
        """Return the day that the format's text names as the present one, YYYY-MM-DD. None asks the clock."""
        return None

    def dated(self, day: str) -> Family:
        """Return the format with a day, YYYY-MM-DD, wherever its text would name the present one.

        >>> from isc import GptOss
        >>> GptOss().dated("2026-03-01").day
        '2026-03-01'
        """
        return self

    def template_arguments(self) -> Mapping[str, Json]:
        """Return the options as keyword arguments of the model's own template. Options that are None are left out."""
        options: dict[str, Json] = to_builtins(self)
        tag_field = self.__struct_config__.tag_field
        return {name: value for name, value in options.items() if name != tag_field and value is not None}

    @property
    def argument_keys(self) -> str:
        """Return the pattern for names of arguments. Formats that quote nothing cannot tell every name from tags."""
        return ANY

    @property
    def argument_texts(self) -> str:
        """Return the pattern for arguments that are texts, likewise."""
        return ANY

    @property
    def shape(self) -> Shape:
        """Describe what conversations may look like: roles, alternation, tools, reasoning.

        Found by asking `conversation`.

        >>> from isc import Llama3
        >>> Llama3().shape.most_calls, Llama3().shape.calls_alone, Llama3().shape.user_first
        (1, True, True)
        """
        return asked(self)

    @property
    def has_reasoning(self) -> bool:
        """Return whether the format has reasoning: between markers, or in messages of its own."""
        return self.reasoning is not None or self.turn_start is not None


def frame_in(family: Family) -> Frame:
    """Return what a format writes in sampled turns that tells their parts."""
    return frame_of(family.reasoning, family.turn_start, family.turn_close, family.stop_tokens)


def _turns(family: Family, chat: Chat, *, add_generation_prompt: bool) -> Iterator[Turn]:
    """Yield the opening, each turn and the generation prompt."""
    if add_generation_prompt:
        chat = structs.replace(chat, add_generation_prompt=True)
    yield given_turn(opening_owner(chat), family.opening(chat))
    if (preamble := family.preamble(chat)) != ():
        yield given_turn(UNOWNED, preamble)
    one_prompt = list(family.generation_prompt(chat)) if family.one_prompt else None
    turn_close = family.turn_close
    for index, message in enumerate(chat.messages):
        if (between := family.interlude(chat, index)) != ():
            yield given_turn(UNOWNED, between)
        turn = family.turn(chat, index)
        if type(message) is AssistantMessage:
            prompt = family.prompt_before(chat, index) if one_prompt is None else one_prompt
            yield cut_turn(turn, prompt, turn_close, index)
        else:
            yield given_turn(index, turn)
    if (behind := family.interlude(chat, len(chat.messages))) != ():
        yield given_turn(UNOWNED, behind)
    if add_generation_prompt:
        yield given_turn(UNOWNED, family.generation_prompt(chat))


def name_of(kind: type[Struct]) -> str:
    """Return the name of a format: its tag, or its class where it has none.

    >>> from isc import Qwen3
    >>> name_of(Qwen3)
    'qwen3'
    """
    tag = kind.__struct_config__.tag
    return kind.__name__ if tag is None else str(tag)
