"""Reading an engine's answer: a value of the shape it must have, or an error that says which field is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from isc._brief import Brief
from isc.client.secrets import Secrets
from isc.errors import MalformedResponseError, PartialCompletion
from isc.types import Json

_Shape = TypeVar("_Shape")
_AT = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_OFFSET = re.compile(r"\(byte (\d+)\)")
_AROUND = 30  # bytes shown on either side of one that is not JSON
_CLAMP = -9999.0
_SPELLED = re.compile(r"token_id:(0|[1-9][0-9]{0,9})")
_ROUNDING = 1e-6  # by how much the logarithm of a probability of 1 may be off in 32 bits
_NO_SECRETS = Secrets()
ABORTS = frozenset(("abort", "error"))  # reasons at which there is no completion

TokenId = Annotated[int, Meta(ge=0, lt=2**31)]


class Answer(Brief, Struct, frozen=True):
    """The body of a successful response, the request it answers, and what must not be shown of either."""

    url: str
    request_id: str
    body: bytes | bytearray
    secrets: Secrets = _NO_SECRETS

    def error(
        self, path: str, problem: str, value: object = None, *, partial: PartialCompletion | None = None
    ) -> MalformedResponseError:
        """Return an error that says what is wrong with the answer."""
        shown = self.secrets.hide(value) if isinstance(value, str) else value
        return MalformedResponseError(self.url, self.request_id, path, self.secrets.hide(problem), shown, partial)


class Completion(Brief, Struct, frozen=True):
    """What was sampled, in whatever protocol it came.

    `request_id` is the engine's own name for the request, empty where it told none; `problem` is why it gave up, where
    `finish_reason` says that it did.
    """

    token_ids: Sequence[int]
    logprobs: Sequence[float]
    finish_reason: str
    request_id: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_ids: Sequence[int] | None = None
    problem: str | None = None


class Chunk(Completion, frozen=True):
    """What an event of a stream says: a part of a completion, empty where it says nothing of it.

    `scored_ids` are those that the log probabilities are of. `retells`: whether an event may tell all that was sampled
    so far, in place of the new part; `completion_tokens` is then how many there are by now.
    """

    scored_ids: Sequence[int] = ()
    retells: bool = False


def decoded(answer: Answer, shape: type[_Shape]) -> _Shape:
    """Return the body as a value of this shape.

    Raises:
        MalformedResponseError: Not JSON, cut off, a field missing or of another type.
    """
    return decoded_part(answer, answer.body, shape)


def decoded_part(answer: Answer, body: bytes | bytearray, shape: type[_Shape]) -> _Shape:
    """Return a part of the body as a value of this shape.

    Raises:
        MalformedResponseError: Not JSON, cut off, a field missing or of another type.
    """
    try:
        return _decoded(body, shape)
    except msgspec.ValidationError as error:
        matched = _AT.fullmatch(str(error))
        problem, path = matched.groups() if matched else (str(error), None)
        raise answer.error(path or "body", problem) from None
    except (ValueError, RecursionError) as error:
        excerpt = _excerpt(body, str(error), answer.secrets)
        raise answer.error("body", f"is not JSON: {error}", excerpt) from None


def _decoded(body: bytes | bytearray, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if b"NaN" in body or b"Infinity" in body:  # no JSON, but what Python servers write: a check will name the field
            return msgspec.convert(json.loads(body), shape)
        raise


def _excerpt(body: bytes | bytearray, problem: str, secrets: Secrets) -> str:
    """Return the part of a body where it is not JSON: around the byte, or the end of one that was cut off."""
    matched = _OFFSET.search(problem)
    place = int(matched[1]) if matched else len(body)
    start, end = max(0, place - _AROUND), place + _AROUND
    outer = max(0, start - secrets.longest)  # a secret may reach into what is shown from outside of it
    masked = secrets.mask(bytes(body[outer : end + secrets.longest]))
    return masked[start - outer : end - outer].decode("utf-8", "replace")


def check_logprobs(answer: Answer, path: str, token_ids: Sequence[int], logprobs: Sequence[float]) -> None:
    """Refuse an answer that has not one log probability a token: a finite number that is not above zero.

    Raises:
        MalformedResponseError: Another number of them, or one that is none.
    """
    if len(logprobs) != len(token_ids):
        raise answer.error(path, f"there are {len(logprobs)} logprobs for {len(token_ids)} token ids")
    for position, logprob in enumerate(logprobs):
        if not isfinite(logprob) or logprob == _CLAMP or logprob > _ROUNDING:
            problem = f"the logprob of token {token_ids[position]} {_defect(logprob)}"
            raise answer.error(f"{path}[{position}]", problem, logprob)


def _defect(logprob: float) -> str:
    if logprob == _CLAMP:
        return "is -9999.0, which stands for a missing logprob"
    return "is above zero, which no probability's is" if logprob > 0 and isfinite(logprob) else "is not finite"


def spelled_id(token: str | None) -> int | None:
    """Return the id of a token that is spelled by it, as vLLM spells tokens; None of any other text.

    >>> spelled_id("token_id:72"), spelled_id("token_id:+7")
    (72, None)
    """
    matched = _SPELLED.fullmatch(token or "")
    return None if matched is None else int(matched[1])


def check_reason(answer: Answer, path: str, finish_reason: str) -> None:
    """Refuse an answer that does not say why it ends.

    Raises:
        MalformedResponseError: The reason is empty.
    """
    if not finish_reason.strip():
        raise answer.error(path, "is empty: why the completion ended must be known", finish_reason)


def check_range(answer: Answer, token_ids: Sequence[int], size: int | None) -> None:
    """Refuse an answer with ids that the model does not have.

    Raises:
        MalformedResponseError: An id is not below `size`; None where that is not known.
    """
    if size is not None and token_ids and max(token_ids) >= size:
        wrong = max(token_ids)
        problem = f"token {token_ids.index(wrong)} is {wrong}, but the model has {size} ids, padding included"
        raise answer.error("token_ids", f"{problem}; is this the model that the renderer is of?", wrong)


def kept(answer: Answer, names: Sequence[str], places: Iterable[str]) -> dict[str, Json]:
    """Return these fields of the response as they came, looked for at its top and then in the objects at `places`."""
    if not names:
        return {}
    top: Mapping[str, Any] = decoded(answer, dict[str, Any])
    inner = [top.get(place) for place in places]
    objects = [top, *(item[0] if isinstance(item, list) and item else item for item in inner)]
    return {
        name: each[name] for name in names for each in objects if isinstance(each, dict) and each.get(name) is not None
    }
