"""Whose answer it is: every request has a name, and an answer is used only where it proves to be that request's.

A proof is the name of the request, which engines repeat in the answer, or the ids of its prompt. A number of tokens is
none: prompts of equal length are common, and an answer to one of them would pass for the answer to another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import uuid4

from isc.client.responses import Answer, Completion
from isc.errors import MalformedResponseError

_PREFIX = "isc-"
_OURS = re.compile(f"{_PREFIX}[0-9a-f]{{32}}(?:-(?:[1-9][0-9]+|[2-9]))?")
HEADER = (
    "X-Request-Id"  # vLLM takes a request's name from here, before the body, and so do proxies that would give another
)


def new_name() -> str:
    """Return a name that no other request has."""
    return f"{_PREFIX}{uuid4().hex}"


def attempt_name(name: str, number: int) -> str:
    """Return an attempt's own name: an engine may still hold the attempt before it.

    >>> attempt_name("isc-0", 1), attempt_name("isc-0", 2)
    ('isc-0', 'isc-0-2')
    """
    return name if number == 1 else f"{name}-{number}"


def is_proven(answer: Answer, completion: Completion, prompt_ids: Sequence[int], *, as_sent: bool, at: str) -> bool:
    """Return whether an answer says that it is this request's. Refuse one that is another's.

    Args:
        answer: The answer; its `request_id` is the name of the request.
        completion: What it says.
        prompt_ids: The ids that were sent.
        as_sent: Whether the engine reads these ids and no others; with media it may read more tokens.
        at: The member that counts tokens.

    Raises:
        MalformedResponseError: It names another request of ours, or several, or tells another prompt.
    """
    named = set(_OURS.findall(completion.request_id))
    if named - {answer.request_id}:
        raise answer.error("request_id", "this is the answer to another request", completion.request_id)
    if as_sent:
        check_count(answer, f"{at}.prompt_tokens", completion.prompt_tokens, len(prompt_ids))
    told = completion.prompt_ids
    if as_sent and told is not None and tuple(told) != tuple(prompt_ids):
        raise answer.error("prompt_token_ids", "are not the ids that were sent: this is the answer to another request")
    return bool(named) or (told is not None and as_sent)


def unproven(answer: Answer, request_id: str) -> MalformedResponseError:
    """Return the error of an answer of which neither name nor prompt ids say that it is the answer to this request."""
    problem = (
        "does not name the request, and there are no prompt ids: this may be the answer to another request. "
        f"Engines repeat the name that a request has; see that proxies pass it on (header {HEADER}), or "
        'for vLLM ask for the prompt: extra_body={"return_token_ids": true}'
    )
    return answer.error("request_id", problem, request_id)


def check_count(answer: Answer, path: str, counted: int | None, count: int) -> None:
    """Refuse an answer that counts another number of tokens than there are.

    Raises:
        MalformedResponseError: It does.
    """
    if counted is not None and counted != count:
        raise answer.error(path, f"is {counted}, but there are {count}")
