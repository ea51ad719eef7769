"""Questions that are asked once an HTTP client: by however many calls need the answer at the same time.

An answer is kept as long as the client lives. A failure to ask is told to all who wait for it, and not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from msgspec import Struct

_Answer = TypeVar("_Answer")
_MOST = 256  # answers that are kept of an HTTP client; the oldest go first


class _Asking(Struct):
    """A question under way and the calls that wait for it; the last to leave takes it back."""

    task: asyncio.Task[Any]
    waiting: int = 0


class _Kept(Struct):
    """What the engines behind one HTTP client said, by question."""

    answers: dict[Hashable, Any] = {}
    asking: dict[Hashable, _Asking] = {}


_BY_CLIENT: WeakKeyDictionary[object, _Kept] = WeakKeyDictionary()


async def once(client: object, question: Hashable, ask: Callable[[], Coroutine[Any, Any, _Answer]]) -> _Answer:
    """Return the answer to a question, asked if nobody has asked it of this client.

    Args:
        client: The HTTP client.
        question: What tells this question from others.
        ask: Asks it; whatever it raises is raised here.
    """
    kept = _BY_CLIENT.setdefault(client, _Kept())
    if question in kept.answers:
        answer: _Answer = kept.answers[question]
        return answer
    answer = await _together(kept, question, ask)
    kept.answers[question] = answer
    if len(kept.answers) > _MOST:
        kept.answers.pop(next(iter(kept.answers)))
    return answer


def forget(client: object, question: Hashable) -> None:
    """Drop an answer that turned out to hold no longer: who needs it next asks anew."""
    _BY_CLIENT.setdefault(client, _Kept()).answers.pop(question, None)


async def _together(kept: _Kept, question: Hashable, ask: Callable[[], Coroutine[Any, Any, _Answer]]) -> _Answer:
    """Ask one question for all that ask at the same time."""
    asking = kept.asking.get(question)
    if asking is None:
        asking = kept.asking[question] = _Asking(asyncio.create_task(ask()))
    asking.waiting += 1
    try:
        answer: _Answer = await asyncio.shield(asking.task)
        return answer
    finally:
        asking.waiting -= 1
        if not asking.waiting or asking.task.done():
            asking.task.cancel()
            if kept.asking.get(question) is asking:
                del kept.asking[question]
