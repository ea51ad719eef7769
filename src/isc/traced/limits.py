"""The limits of a template, which is data from the internet and may be written to hang or to fill memory.

Every loop iteration, call, operator and filter passes a `Meter`, and no single operation can build more than `LONGEST`.
Time is processor time of the thread, so that a busy machine refuses no honest template.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from operator import length_hint
from typing import Any, Final, NamedTuple

from jinja2.utils import Cycler, Namespace

from isc.errors import TemplateLimitError

LONGEST: Final = 1 << 26
"""Characters of one string."""
MOST_PARTS: Final = 1 << 20
"""Parts of one split string, items of one list."""
MOST_BITS: Final = 1 << 16
"""Bits of one integer."""
MOST_NODES: Final = 200_000
"""Items of a nested value, shared ones counted as often as they are reached."""
MOST_NESTED: Final = 1 << 24
"""Characters in a nested value, shared ones counted as often as they are reached."""
MOST_DIRECTIVES: Final = 1 << 16
"""Places in a pattern that values are put into."""
DEEPEST: Final = 100
"""Nesting of a value that is compared, hashed or printed."""
SLOW: Final = 1 << 16
"""Characters that an operation of more than linear cost may be given."""
SLOWER: Final = 1 << 12
"""Characters that an operation of quadratic cost may be given."""
RUN_WEIGHT: Final = 16
"""Characters that one run of a traced text weighs, and one item of a list."""
PIECE_WEIGHT: Final = 64
"""Characters that one run of a text weighs while it is put together of pieces."""

_STEPS: Final = 4_000_000
_CHARACTERS: Final = 1 << 27
_SECONDS: Final = 10.0
_CHARACTERS_FOR_ONE: Final = 200
_STEPS_FOR_A_PAIR: Final = 8
_SECONDS_FOR_A_PAIR: Final = 1e-5
_BETWEEN_LOOKS: Final = 15
_LARGE: Final = 1 << 12
_ALIKE: Final = 1 << 10
_VIEWS: Final[tuple[type, ...]] = (type({}.keys()), type({}.values()), type({}.items()))
_SINGLE: Final = frozenset((int, float, bool, type(None)))
NESTING: Final[tuple[type, ...]] = (list, tuple, dict, set, frozenset, *_VIEWS, Namespace, Cycler)
"""Values that hold others."""


_SHARED: Final[ContextVar[tuple[float, float] | None]] = ContextVar("shared", default=None)
"""When the renders of one question began, and the seconds that they have together."""


@contextmanager
def one_limit(messages: int = 0) -> Iterator[None]:
    """Give all renders of one question the time of one, whatever trial conversations it takes to answer it.

    Inside another such block the time is that one's.
    """
    if _SHARED.get() is not None:
        yield
        return
    token = _SHARED.set((time.thread_time(), _seconds(messages)))
    try:
        yield
    finally:
        _SHARED.reset(token)


def _seconds(messages: int) -> float:
    """Return the seconds that a conversation of so many messages may take. A template may look at each pair of them."""
    return _SECONDS + _SECONDS_FOR_A_PAIR * messages * messages


class Meter:
    """Counts what one render uses up; the messages and characters of the conversation set the scale."""

    __slots__ = (
        *("characters", "deadline", "longest_look", "look_again", "most_characters", "most_steps", "seconds", "steps"),
    )

    def __init__(self, messages: int = 0, characters: int = 0) -> None:
        self.steps = 0
        self.characters = 0
        self.most_steps = _STEPS + _STEPS_FOR_A_PAIR * messages * messages
        self.most_characters = _CHARACTERS + _CHARACTERS_FOR_ONE * characters
        self.longest_look = LONGEST + _CHARACTERS_FOR_ONE * characters
        self.seconds = _seconds(messages)
        shared = _SHARED.get()
        start, least = (time.thread_time(), 0.0) if shared is None else shared
        self.seconds = max(self.seconds, least)
        self.deadline = start + self.seconds
        self.look_again = time.monotonic()

    def step(self, characters: int = 0) -> None:
        """Count one iteration, call or operator, and the characters it produced."""
        self.steps += 1
        self.characters += characters
        if characters > _LARGE or not self.steps & _BETWEEN_LOOKS:
            self.look()

    def spend(self, characters: int) -> None:
        """Count characters that were produced, or items that weigh as much."""
        self.characters += characters
        if characters > _LARGE:
            self.look()

    def see(self, characters: int) -> None:
        """Check the clock before so many characters are compared or searched at once, which makes nothing."""
        if characters > _LARGE:
            within(characters, self.longest_look)
            self.look()

    def gather(self, characters: int, pieces: int) -> None:
        """Check that a text of so many characters can be put together of so many pieces, which are runs until then."""
        within(max(characters, pieces * PIECE_WEIGHT), self.longest_look)

    def look(self) -> None:
        """Raise where steps, characters or time are used up."""
        if self.characters > self.most_characters:
            raise TemplateLimitError(f"the template produced more than {self.most_characters} characters")
        if self.steps > self.most_steps:
            raise TemplateLimitError(f"the template took more than {self.most_steps} steps")
        now = time.monotonic()
        if now > self.look_again:  # no sooner can the time be up; the clock of a thread takes ten times as long to read
            left = self.deadline - time.thread_time()
            if left < 0:
                raise TemplateLimitError(f"the template ran for more than {self.seconds:.0f} seconds")
            self.look_again = now + left


def within(size: int, most: int = LONGEST) -> int:
    """Return the size of a text or list that is about to be built, if that size is allowed.

    Raises:
        TemplateLimitError: It may not.
    """
    if size > most:
        raise TemplateLimitError(f"the template asked for a value of size {size}; the most is {most}")
    return size


class Size(NamedTuple):
    """The size of a value: its items and characters, shared ones as often as they are reached, and its nesting."""

    nodes: int
    characters: int
    deepest: int


def bounded(value: object, most_nodes: int = MOST_NODES, most_characters: int = MOST_NESTED) -> Size:
    """Return the size of a value, if it is small enough to be compared, hashed or printed in one operation.

    A list that holds another list twice, which holds another twice ... is small in memory, and endless to walk. A text
    that is no part of a list may have any length.

    Raises:
        TemplateLimitError: It is not.
    """
    if not isinstance(value, NESTING):
        return Size(1, len(value) if isinstance(value, str) else 0, 0)
    nodes = characters = deepest = 0
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > deepest:
            deepest = depth
            if deepest > DEEPEST:
                raise TemplateLimitError(f"the template nested a value more than {DEEPEST} deep")
        children = _children(item)
        nodes += len(children)
        if nodes > most_nodes:
            within(nodes, most_nodes)
        for child in children:
            if isinstance(child, str):
                characters += len(child)
            elif type(child) not in _SINGLE and isinstance(child, NESTING):
                waiting.append((child, depth + 1))
        if characters > most_characters:
            within(characters, most_characters)
    return Size(nodes, characters, deepest)


def _children(item: object) -> list[Any]:
    if type(item) is list:
        return item
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    if isinstance(item, Namespace):
        held: dict[str, object] = item._Namespace__attrs
        return list(held.values())
    items: Iterable[Any] = item.items if isinstance(item, Cycler) else item  # type: ignore[assignment]
    return list(items)


def weight(value: object) -> int:
    """Return the characters and items that comparing a value looks at.

    Raises:
        TemplateLimitError: They are too many.
    """
    size = bounded(value)
    return size.nodes + size.characters


def items_in(values: object) -> int:
    """Return how many items something holds, or an iterator is about to give."""
    return len(values) if isinstance(values, Sized) else length_hint(values, 0)


def hashable(values: Collection[object]) -> None:
    """Refuse many different values of one hash, such as multiples of 2^61 - 1: a dict of them takes quadratic time."""
    if len(values) <= _ALIKE:
        return
    kept = list(values)
    for value in kept:
        bounded(value)
    common, count = Counter(map(hash, kept)).most_common(1)[0]
    if count > _ALIKE:
        alike = [value for value in kept if hash(value) == common]
        within(sum(value != alike[0] for value in alike), _ALIKE)
