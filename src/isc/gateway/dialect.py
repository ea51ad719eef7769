"""What a dialect is: pure functions between the JSON that one kind of agent speaks and what the gateway knows.

A dialect is a module with what `Dialect` lists. A request becomes an `Asked`; what is sampled reaches the dialect as
`Told` events and ends in an `Answer`; whatever goes wrong is a `Failure`, which every dialect says in its own form.
What a request asks for and nobody can honour is refused by `refused`, which names the field: never silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol, Self, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from isc.errors import Error
from isc.gateway.tree import Continued
from isc.types import AssistantMessage, Json, Message

Kind: TypeAlias = Literal[
    "invalid",
    "unauthorized",
    "forbidden",
    "not_found",
    "too_large",
    "too_many",
    "overlong",
    "engine",
    "timeout",
    "internal",
]
Calls: TypeAlias = Literal["auto", "none", "required"]
Finish: TypeAlias = Literal["stop", "length", "tool_calls"]

STATUS: dict[Kind, int] = {
    "invalid": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "too_large": 413,
    "too_many": 429,
    "overlong": 400,
    "engine": 502,
    "timeout": 504,
    "internal": 500,
}
"""The HTTP status of each kind of failure."""

_PLACE = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<field>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")
_Request = TypeVar("_Request", bound=Struct)


class Failure(Struct, frozen=True):
    """Why there is no answer.

    Attributes:
        kind: What kind of failure it is.
        problem: What is wrong and what to do, for a human.
        field: The field of the request that is to blame, e.g. `messages[3].content`; None where it is none.
    """

    kind: Kind
    problem: str
    field: str | None = None

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return STATUS[self.kind]


class RequestError(Error, ValueError):
    """A request that is not answered; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        field = self.failure.field
        return f"{field}: {self.failure.problem}" if field else self.failure.problem


def refused(field: str | None, problem: str) -> RequestError:
    """Return the error for a field of a request that cannot be honoured.

    >>> str(refused("top_logprobs", "alternatives are not told"))
    'top_logprobs: alternatives are not told'
    """
    return RequestError(Failure("invalid", problem, field))


def decoded(body: bytes, kind: type[_Request]) -> _Request:
    """Read a request's body as a Struct, strictly.

    Args:
        body: JSON.
        kind: A Struct with `forbid_unknown_fields=True`, so that no field is dropped in silence.

    Raises:
        RequestError: It is no JSON or does not fit; names the field.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise refused(None, f"the body is no JSON that can be read: {error}") from None


def converted(value: object, kind: type[_Request], where: str) -> _Request:
    """Read a part of a request as a Struct, as `decoded` reads a whole one.

    Args:
        value: The part, as plain JSON values.
        kind: A Struct with `forbid_unknown_fields=True`.
        where: Where it stands in the request.

    Raises:
        RequestError: It does not fit; names the field.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _misfit(str(error), where) from None


def _misfit(text: str, where: str = "") -> RequestError:
    """Return the error for what msgspec says of a value."""
    place = _PLACE.match(text)
    problem, inner = (place["problem"], place["field"] or "") if place else (text, "")
    field = f"{where}{'.' * bool(where and inner and not inner.startswith('['))}{inner}"
    unknown, missing = _UNKNOWN.match(problem), _MISSING.match(problem)
    name = unknown or missing
    if name is None:
        return refused(field or None, problem)
    says = "this field is unknown, so it cannot be honoured; leave it out" if unknown else "this field is missing"
    return refused(f"{field}.{name['name']}" if field else name["name"], says)


def named(request: Struct, names: Iterable[str]) -> dict[str, Json]:
    """Return those fields of a request that it gives, for the parameters of sampling."""
    values = {name: getattr(request, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def unknown_choice(field: str) -> RequestError:
    """Return the error for a choice of tools that is none of those that can be honoured.

    >>> str(unknown_choice("tool_choice"))
    'tool_choice: can be auto, none, required, or one function by its name'
    """
    return refused(field, "can be auto, none, required, or one function by its name")


def no_empty_stop(field: str, stops: Sequence[str]) -> tuple[str, ...]:
    """Return texts at which an answer ends.

    Raises:
        RequestError: One of them is empty.
    """
    if "" in stops:
        raise refused(field, "an empty text would stop every answer at once; leave it out")
    return tuple(stops)


class Asked(Struct, frozen=True):
    """What a request asks for, in no dialect.

    Attributes:
        model: The model's name, as it was given.
        messages: The conversation: message records, or OpenAI's dicts.
        tools: The tools: OpenAI's dicts.
        sampling: Parameters of sampling by vLLM's names: `temperature`, `top_p`, `seed`, ... Not those below.
        max_tokens: How many tokens at most; None for as many as there is room for.
        stop: Texts at which the answer ends; they are not part of what is shown.
        n: How many answers.
        stream: Whether it is told while it is sampled.
        calls: Whether the model may call tools. With `none`, what it writes as a call is shown as text; with
            `required` it has to make one call, of the tool `call_of` where that is named.
        call_of: The tool that has to be called; None for any.
        one_call: Whether the answer ends with its first call.
        in_pieces: The tools whose calls are told while they are sampled, where the answer is; None for all.
        continues: Whether the last message, an assistant's, is left open for the model to go on with.
        after: The id of the turn that `messages` follow; None where they are the whole conversation.
        tells_logprobs: Whether the log-probability of each token is told.
        tells_token_ids: Whether the ids of the prompt and of what was sampled are told.
        own: What the dialect itself has to know for its answer.
    """

    model: str
    messages: tuple[Message | Mapping[str, Json], ...]
    tools: tuple[Mapping[str, Json], ...] = ()
    sampling: Mapping[str, Json] = {}
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    stream: bool = False
    calls: Calls = "auto"
    call_of: str | None = None
    one_call: bool = False
    in_pieces: tuple[str, ...] | None = None
    continues: bool = False
    after: str | None = None
    tells_logprobs: bool = False
    tells_token_ids: bool = False
    own: Mapping[str, Json] = {}


class Token(Struct, frozen=True):
    """A sampled token: its id, its bytes, its log-probability as the engine reported it."""

    id: int
    data: bytes
    logprob: float | None

    @property
    def text(self) -> str:
        """Return the bytes as text; what is part of a character is shown as such."""
        return self.data.decode("utf-8", "replace")


class Heading(Struct, frozen=True):
    """What is known of an answer before it is sampled.

    Attributes:
        id: The turn's id; of several answers that of the first.
        created: When, in seconds since 1970.
        model: The model's name, as the request gave it.
        prompt_ids: The ids of the prompt.
        continued: Whether the prompt begins with the ids of the turn before.
    """

    id: str
    created: int
    model: str
    prompt_ids: tuple[int, ...]
    continued: Continued


class Choice(Struct, frozen=True):
    """One answer that has ended.

    Attributes:
        index: Its place among the answers to the request.
        id: The turn's id.
        message: What is shown: reasoning, content, calls by the ids that the agent is to name them by.
        finish: Why it ended.
        stop: The text of `Asked.stop` that ended it, if one did.
        tokens: What was sampled.
    """

    index: int
    id: str
    message: AssistantMessage
    finish: Finish
    stop: str | None
    tokens: tuple[Token, ...]

    @property
    def sampled(self) -> dict[str, Json]:
        """Return what was sampled as the fields of an answer that tells ids: `token_ids` and `logprobs`."""
        ids: list[Json] = [token.id for token in self.tokens]
        return {"token_ids": ids, "logprobs": [token.logprob for token in self.tokens]}


class Answer(Struct, frozen=True):
    """Everything that a request is answered with."""

    heading: Heading
    choices: tuple[Choice, ...]

    @property
    def prompt_tokens(self) -> int:
        """Return the number of tokens of the prompt, counted once for all answers."""
        return len(self.heading.prompt_ids)

    @property
    def completion_tokens(self) -> int:
        """Return the number of tokens that were sampled, for all answers together."""
        return sum(len(choice.tokens) for choice in self.choices)


class ReasoningTold(Struct, frozen=True):
    """More of the reasoning of an answer."""

    choice: int
    text: str


class TextTold(Struct, frozen=True):
    """More of the content of an answer."""

    choice: int
    text: str


class CallTold(Struct, frozen=True):
    """The beginning of call `index` of an answer."""

    choice: int
    index: int
    id: str
    name: str


class ArgumentsTold(Struct, frozen=True):
    """More of the JSON text of a call's arguments."""

    choice: int
    index: int
    text: str


class CallClosed(Struct, frozen=True):
    """The end of a call. Its arguments have been told whole, or the model wrote no call that is as it should be."""

    choice: int
    index: int
    is_whole: bool = True


class TokensTold(Struct, frozen=True):
    """What was sampled since, told where the request asks for ids or log-probabilities."""

    choice: int
    tokens: tuple[Token, ...]


class ChoiceClosed(Struct, frozen=True):
    """The end of an answer, whole."""

    closed: Choice


Told: TypeAlias = ReasoningTold | TextTold | CallTold | ArgumentsTold | CallClosed | TokensTold | ChoiceClosed
"""What is told of an answer while it is sampled. Nothing is ever taken back."""


class Chunk(Struct, frozen=True):
    """One server-sent event: its data on one line, and its name where the dialect names events."""

    data: bytes
    event: str | None = None

    @property
    def wire(self) -> bytes:
        """Return the event as it is sent."""
        name = b"" if self.event is None else b"event: " + self.event.encode() + b"\n"
        return name + b"data: " + self.data + b"\n\n"


class Stream(Protocol):
    """An answer as it is told, event by event: a frozen value that the dialect makes."""

    def begun(self) -> tuple[Self, tuple[Chunk, ...]]:
        """Return what is sent before anything is sampled."""

    def told(self, event: Told) -> tuple[Self, tuple[Chunk, ...]]:
        """Return what is sent of an event."""

    def ended(self, answer: Answer) -> tuple[Chunk, ...]:
        """Return what is sent last, once the turn is recorded."""

    def failed(self, failure: Failure) -> tuple[Chunk, ...]:
        """Return what is sent where there will be no answer."""


class Dialect(Protocol):
    """A dialect: a module with these functions, pure, and the path at which it is spoken."""

    @property
    def PATH(self) -> str:  # noqa: N802 - a constant of a module
        """Return the path of requests after that of the session, e.g. `/v1/chat/completions`."""

    @property
    def COUNT_PATH(self) -> str | None:  # noqa: N802 - likewise
        """Return the path at which prompts are counted; None where the dialect has none."""

    def asked(self, body: bytes) -> Asked:
        """Read a request.

        Raises:
            RequestError: It cannot be read or honoured; names the field.
        """

    def counted(self, tokens: int) -> bytes:
        """Return the answer to a request that counts the tokens of a prompt."""

    def response(self, asked: Asked, answer: Answer) -> bytes:
        """Return the answer to a request that does not stream."""

    def stream(self, asked: Asked, heading: Heading) -> Stream:
        """Return the stream of an answer of which nothing was told."""

    def failed(self, failure: Failure) -> bytes:
        """Return the body that says why there is no answer."""
