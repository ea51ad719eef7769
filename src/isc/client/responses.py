"""Reading an engine's answer: a value of the shape it must have, or an error that says which field is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from isc.errors import MalformedResponseError
from isc.types import Json

_Shape = TypeVar("_Shape")
_AT = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_OFFSET = re.compile(r"\(byte (\d+)\)")
_AROUND = 30  # bytes shown on either side of one that is not JSON
_CLAMP = -9999.0
REQUEST = "isc-"  # how the names begin that requests get here, before 32 hexadecimal digits
_OURS = re.compile(f"{REQUEST}[0-9a-f]{{32}}")

TokenId = Annotated[int, Meta(ge=0, lt=2**31)]


class Answer(Struct, frozen=True):
    """The body of a successful response and the request it answers."""

    url: str
    request_id: str
    body: bytes

    def error(self, path: str, problem: str, value: object = None) -> MalformedResponseError:
        """What is wrong with it."""
        return MalformedResponseError(self.url, self.request_id, path, problem, value)


class Completion(Struct, frozen=True):
    """What was sampled, in whatever protocol it came. `request_id` is the engine's own name for the request."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    request_id: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_ids: Sequence[int] | None = None


def decoded(answer: Answer, shape: type[_Shape]) -> _Shape:
    """The body as a value of this shape.

    Raises:
        MalformedResponseError: Not JSON, cut off, a field missing or of another type.
    """
    try:
        return _decoded(answer.body, shape)
    except msgspec.ValidationError as error:
        matched = _AT.fullmatch(str(error))
        problem, path = matched.groups() if matched else (str(error), None)
        raise answer.error(path or "body", problem) from None
    except (ValueError, RecursionError) as error:
        raise answer.error("body", f"is not JSON: {error}", _excerpt(answer.body, str(error))) from None


def _decoded(body: bytes, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if b"NaN" in body or b"Infinity" in body:  # no JSON, but what Python servers write: a check will name the field
            return msgspec.convert(json.loads(body), shape)
        raise


def _excerpt(body: bytes, problem: str) -> str:
    """The part of a body where it is not JSON: around the byte, or the end of one that was cut off."""
    found = _OFFSET.search(problem)
    place = int(found[1]) if found else len(body)
    return body[max(0, place - _AROUND) : place + _AROUND].decode("utf-8", "replace")


def check_logprobs(answer: Answer, path: str, token_ids: Sequence[int], logprobs: Sequence[float]) -> None:
    """One finite log probability a token.

    Raises:
        MalformedResponseError: Another number of them, or one that is none.
    """
    if len(logprobs) != len(token_ids):
        raise answer.error(path, f"there are {len(logprobs)} logprobs for {len(token_ids)} token ids")
    for position, logprob in enumerate(logprobs):
        if not isfinite(logprob) or logprob == _CLAMP:
            problem = "is -9999.0, which stands for a missing logprob" if logprob == _CLAMP else "is not finite"
            raise answer.error(f"{path}[{position}]", f"the logprob of token {token_ids[position]} {problem}", logprob)


def check_counts(answer: Answer, completion: Completion, path: str) -> None:
    """The answer has the tokens that it counts, where it counts.

    Raises:
        MalformedResponseError: It lost some.
    """
    _check_count(answer, f"{path}.completion_tokens", completion.completion_tokens, len(completion.token_ids))


def check_prompt(answer: Answer, completion: Completion, prompt_ids: Sequence[int], path: str) -> None:
    """The answer is to the prompt that was sent, as far as it tells.

    Raises:
        MalformedResponseError: It is to another.
    """
    _check_count(answer, f"{path}.prompt_tokens", completion.prompt_tokens, len(prompt_ids))
    if completion.prompt_ids is not None and tuple(completion.prompt_ids) != tuple(prompt_ids):
        raise answer.error("prompt_token_ids", "are not the ids that were sent: this is the answer to another request")


def _check_count(answer: Answer, path: str, counted: int | None, count: int) -> None:
    if counted is not None and counted != count:
        raise answer.error(path, f"is {counted}, but there are {count}")


def check_request(answer: Answer, named: str) -> None:
    """A response that names a request of ours names this one; engines may add to the name, or use their own.

    Raises:
        MalformedResponseError: It names another.
    """
    if _OURS.search(named) and answer.request_id not in named:
        raise answer.error("request_id", "this is the answer to another request", named)


def kept(answer: Answer, names: Sequence[str], places: Iterable[str]) -> dict[str, Json]:
    """These fields of the response as they came, looked for at its top and then in the objects at `places`."""
    if not names:
        return {}
    top: Mapping[str, Any] = decoded(answer, dict[str, Any])
    inner = [top.get(place) for place in places]
    objects = [top, *(item[0] if isinstance(item, list) and item else item for item in inner)]
    return {
        name: found[name]
        for name in names
        for found in objects
        if isinstance(found, dict) and found.get(name) is not None
    }
