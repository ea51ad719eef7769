"""The limits of a template, which is data from the internet and may be written to hang or to fill memory.

Every loop iteration, call, operator and filter passes a `Meter`, and no single operation can build more than `LONGEST`.
"""

from __future__ import annotations

import time
from typing import Final

from isc.errors import TemplateLimitError

LONGEST: Final = 1 << 26
"""Characters of one string."""
MOST_PARTS: Final = 1 << 20
"""Parts of one split string, items of one list."""
MOST_BITS: Final = 1 << 16
"""Bits of one integer."""
MOST_NODES: Final = 200_000
"""Items of a nested value, shared ones counted as often as they are reached."""
DEEPEST: Final = 100
"""Nesting of a value that is compared, hashed or printed."""

_STEPS: Final = 4_000_000
_CHARACTERS: Final = 1 << 27
_SECONDS: Final = 10.0
_CHARACTERS_FOR_ONE: Final = 200
_STEPS_FOR_A_PAIR: Final = 8
_SECONDS_FOR_A_PAIR: Final = 1e-5
_BETWEEN_LOOKS: Final = 15
_LARGE: Final = 1 << 12


class Meter:
    """Counts what one render uses up; the messages and characters of the conversation set the scale."""

    __slots__ = ("characters", "deadline", "most_characters", "most_steps", "seconds", "steps")

    def __init__(self, messages: int = 0, characters: int = 0) -> None:
        self.steps = 0
        self.characters = 0
        self.most_steps = _STEPS + _STEPS_FOR_A_PAIR * messages * messages
        self.most_characters = _CHARACTERS + _CHARACTERS_FOR_ONE * characters
        self.seconds = _SECONDS + _SECONDS_FOR_A_PAIR * messages * messages
        self.deadline = time.monotonic() + self.seconds

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
        """Check the clock before so many characters are compared or searched, which makes nothing."""
        if characters > _LARGE:
            self.look()

    def look(self) -> None:
        """Raise where steps, characters or time are used up."""
        if self.characters > self.most_characters:
            raise TemplateLimitError(f"the template produced more than {self.most_characters} characters")
        if self.steps > self.most_steps:
            raise TemplateLimitError(f"the template took more than {self.most_steps} steps")
        if time.monotonic() > self.deadline:
            raise TemplateLimitError(f"the template ran for more than {self.seconds:.0f} seconds")


def within(size: int, most: int = LONGEST) -> int:
    """Return the size of a text or list that is about to be built, if that size is allowed.

    Raises:
        TemplateLimitError: It may not.
    """
    if size > most:
        raise TemplateLimitError(f"the template asked for a value of size {size}; the most is {most}")
    return size


def bounded(value: object) -> None:
    """Raise unless a nested value is small enough to be compared, hashed or printed in one operation.

    A list that holds another list twice, which holds another twice ... is small in memory, and endless to walk.
    """
    if type(value) not in (list, tuple, dict):
        return
    nodes = 0
    stack: list[tuple[object, int]] = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > DEEPEST:
            raise TemplateLimitError(f"the template nested a value more than {DEEPEST} deep")
        children: list[object] = []
        if isinstance(item, dict):
            children = [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple)):
            children = list(item)
        nodes += len(children)
        within(nodes, MOST_NODES)
        stack.extend((child, depth + 1) for child in children if isinstance(child, (list, tuple, dict)))
