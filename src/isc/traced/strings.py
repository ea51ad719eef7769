"""`Traced`: a string that knows the origin of its characters and keeps it through everything a template does to it.

Its text is always what `str` would give. Every method of `str` that returns text is overridden here; one that cannot
say where its characters came from returns text of unknown origin, never text that passes for the template's own.
"""
# ruff: noqa: D102 - the methods of `str`, said by its own documentation

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, SupportsIndex

from isc.traced.limits import LONGEST, MOST_PARTS, within
from isc.traced.origins import TEMPLATE, Origin, Run, Runs, cut, merged, sole, unknown


class Traced(str):
    """A string and the runs of its characters' origins."""

    __slots__ = ("_runs",)
    _runs: Runs

    def __str__(self) -> str:
        return self

    def __add__(self, other: object) -> str:
        if not isinstance(other, str) or hasattr(other, "__html__"):
            return NotImplemented if hasattr(other, "__radd__") else str.__add__(self, other)  # type: ignore[operator]
        within(len(self) + len(other))
        return traced(str.__add__(self, other), added(self._runs, runs_of(other)))

    def __radd__(self, other: object) -> str:
        if not isinstance(other, str):
            return NotImplemented
        within(len(self) + len(other))
        return traced(str.__add__(other, self), added(runs_of(other), self._runs))

    def __mul__(self, times: SupportsIndex) -> str:
        count = max(0, times.__index__())
        within(len(self) * count)
        within(len(self._runs) * count, MOST_PARTS)
        return traced(str.__mul__(self, count), tuple(merged(self._runs * count)))

    def __rmul__(self, times: SupportsIndex) -> str:
        return self * times

    def __mod__(self, values: object) -> str:
        return lost(str.__mod__(self, values), "%")

    def __rmod__(self, pattern: str) -> str:
        return lost(pattern % str(self), "%")

    def __format__(self, specification: str) -> str:
        return whole_of(self, str.__format__(self, specification), "format")

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        text = str.__getitem__(self, key)
        if len(self._runs) == 1 or not text:
            return traced(text, resized(self._runs, len(text)))
        if not isinstance(key, slice):
            position = key.__index__()
            position += len(self) if position < 0 else 0
            return traced(text, next(cut(self._runs, [(position, position + 1)])))
        start, stop, step = key.indices(len(self))
        if step == 1:
            return traced(text, next(cut(self._runs, [(start, stop)])))
        if step == -1:
            return traced(text, next(cut(self._runs, [(stop + 1, start + 1)]))[::-1])
        within(len(range(start, stop, step)), MOST_PARTS)
        places = sorted(range(start, stop, step))
        runs = list(chain.from_iterable(cut(self._runs, ((place, place + 1) for place in places))))
        return traced(text, tuple(merged(runs if step > 0 else runs[::-1])))

    def __iter__(self) -> Iterator[str]:
        if len(self._runs) == 1:
            runs = resized(self._runs, 1)
            return (traced(character, runs) for character in str.__iter__(self))
        return (
            traced(character, (run,))
            for character, run in zip(
                str.__iter__(self),
                chain.from_iterable([(1, origin, place)] * length for length, origin, place in self._runs),
                strict=True,
            )
        )

    def strip(self, characters: str | None = None, /) -> str:
        _check_set(self, characters)
        text = str.strip(self, characters)
        if len(text) == len(self):
            return self
        if len(self._runs) == 1:
            return traced(text, resized(self._runs, len(text)))
        return self.lstrip(characters).rstrip(characters)

    def lstrip(self, characters: str | None = None, /) -> str:
        _check_set(self, characters)
        return self[len(self) - len(str.lstrip(self, characters)) :]

    def rstrip(self, characters: str | None = None, /) -> str:
        _check_set(self, characters)
        return self[: len(str.rstrip(self, characters))]

    def removeprefix(self, prefix: str, /) -> str:
        return self[len(self) - len(str.removeprefix(self, prefix)) :]

    def removesuffix(self, suffix: str, /) -> str:
        return self[: len(str.removesuffix(self, suffix))]

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._parts(str.split(self, sep, _parts_within(maxsplit)), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._parts(str.rsplit(self, sep, _parts_within(maxsplit)), sep)

    def splitlines(self, keepends: bool = False) -> list[str]:
        within(len(self), LONGEST >> 4)
        lines = str.splitlines(self, True)
        within(len(lines), MOST_PARTS)
        starts = [0, *accumulate(map(len, lines))]
        ends = starts[1:] if keepends else map(sum, zip(starts, map(len, str.splitlines(self)), strict=False))
        return self._cut(list(zip(starts, ends, strict=False)))

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        return self._three(str.partition(self, sep))

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        return self._three(str.rpartition(self, sep))

    def _three(self, parts: tuple[str, str, str]) -> tuple[str, str, str]:
        bounds = [0, *accumulate(map(len, parts))]
        head, middle, tail = self._cut(list(pairwise(bounds)))
        return head, middle, tail

    def _parts(self, parts: Sequence[str], separator: str | None) -> list[str]:
        within(len(parts), MOST_PARTS)
        if len(self._runs) == 1:
            return [traced(part, resized(self._runs, len(part))) for part in parts]
        spans, position = [], 0
        for part in parts:
            start = self.index(part, position) if separator is None else position
            spans.append((start, start + len(part)))
            position = start + len(part) + len(separator or "")
        return self._cut(spans)

    def _cut(self, spans: Sequence[tuple[int, int]]) -> list[str]:
        return [
            traced(str.__getitem__(self, slice(*span)), runs)
            for span, runs in zip(spans, cut(self._runs, spans), strict=True)
        ]

    def join(self, items: Iterable[str], /) -> str:
        if isinstance(items, str):
            within(len(items), MOST_PARTS)
        parts = list(items)
        within(sum(map(len, parts)) + len(self) * len(parts))
        text = str.join(self, parts)
        separated = chain.from_iterable((runs_of(part), self._runs) for part in parts)
        runs = list(chain.from_iterable(separated))
        return traced(text, tuple(merged(runs[: len(runs) - len(self._runs)] if parts else ())))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        times = count.__index__()
        most = str.count(self, old) if times < 0 else min(times, str.count(self, old))
        within(len(self) + most * len(new))
        if not most:
            return self
        text = str.replace(self, old, new, times)
        own, put = sole(self._runs), sole(runs_of(new))
        if own is not None and (not new or put is own or put is TEMPLATE):
            return traced(text, resized(self._runs[:1], len(text)))
        return self._replaced(text, old, new, most) if old else lost(text, "replace")

    def _replaced(self, text: str, old: str, new: str, count: int) -> str:
        """Return the text after a replacement. New text in the place of caller data stays that data."""
        parts = str.split(self, old, count)
        within(len(parts), MOST_PARTS)
        bounds = [0, *accumulate(chain.from_iterable((len(part), len(old)) for part in parts))]
        pieces = list(cut(self._runs, pairwise(bounds[: 2 * len(parts)])))
        put, ours = runs_of(new), sole(runs_of(new)) is TEMPLATE
        runs: list[Run] = []
        for position, piece in enumerate(pieces):
            if not position % 2:
                runs.extend(piece)
            else:
                origin = sole(piece)
                runs.extend(((len(new), origin, piece[0][2]),) if ours and origin is not None else put)
        return traced(text, tuple(merged(runs)))

    def upper(self) -> str:
        return mapped(self, str.upper(self), str.upper, "upper")

    def lower(self) -> str:
        return mapped(self, str.lower(self), str.lower, "lower")

    def casefold(self) -> str:
        return mapped(self, str.casefold(self), str.casefold, "casefold")

    def swapcase(self) -> str:
        return mapped(self, str.swapcase(self), str.swapcase, "swapcase")

    def title(self) -> str:
        return mapped(self, str.title(self), str.title, "title")

    def capitalize(self) -> str:
        return mapped(self, str.capitalize(self), str.title, "capitalize")

    def translate(self, table: Any, /) -> str:  # noqa: ANN401 - whatever str takes
        put = [item for item in dict(table).values() if isinstance(item, str)]
        within(len(self) * max(1, *map(len, put), 1))
        text = str.translate(self, table)
        if any(type(item) is not str for item in put):
            return lost(text, "translate")
        return self if text == self else mapped(self, text, lambda each: each.translate(table), "translate")

    def center(self, width: SupportsIndex, fill: str = " ", /) -> str:
        return self._padded(str.center(self, within(width.__index__()), fill), fill, None)

    def ljust(self, width: SupportsIndex, fill: str = " ", /) -> str:
        return self._padded(str.ljust(self, within(width.__index__()), fill), fill, 0)

    def rjust(self, width: SupportsIndex, fill: str = " ", /) -> str:
        return self._padded(str.rjust(self, within(width.__index__()), fill), fill, len(self))

    def _padded(self, text: str, fill: str, before: int | None) -> str:
        """Return the text with fill characters around it, which are the template's."""
        spare = len(text) - len(self)
        width = len(text)
        left = (spare // 2 + (spare & width & 1)) if before is None else (spare if before else 0)
        if not len(self) and before:
            left = spare
        origin, place = runs_of(fill)[0][1:]
        return traced(text, tuple(merged(((left, origin, place), *self._runs, (spare - left, origin, place)))))

    def zfill(self, width: SupportsIndex, /) -> str:
        return whole_of(self, str.zfill(self, within(width.__index__())), "zfill")

    def expandtabs(self, tabsize: SupportsIndex = 8) -> str:
        within(len(self) + str.count(self, "\t") * max(0, tabsize.__index__()))
        return whole_of(self, str.expandtabs(self, tabsize), "expandtabs")

    def format(self, *values: object, **named: object) -> str:
        return lost(str.format(self, *values, **named), "format")

    def format_map(self, values: Any, /) -> str:  # noqa: ANN401 - whatever str takes
        return lost(str.format_map(self, values), "format_map")


def _check_set(text: str, characters: str | None) -> None:
    """Refuse to strip a long text of a long set: each character is looked for in all of it."""
    if characters is not None:
        within(len(text) * len(characters))


def _parts_within(limit: SupportsIndex) -> int:
    most = limit.__index__()
    return most if 0 <= most < MOST_PARTS else MOST_PARTS


def traced(text: str, runs: Runs) -> Traced:
    """Return a traced string."""
    value = str.__new__(Traced, text)
    value._runs = runs
    return value


def whole(text: str, origin: Origin) -> Traced:
    """Return a text of one origin."""
    return traced(text, ((len(text), origin, None),) if text else ())


def lost(text: str, operation: str) -> Traced:
    """Return a text that an operation lost track of."""
    return whole(text, unknown(operation))


def runs_of(text: str) -> Runs:
    """Return the runs of any string.

    A plain one is the template's own, any other kind of string is of unknown origin.
    """
    if isinstance(text, Traced):
        return text._runs
    if not text:
        return ()
    return ((len(text), TEMPLATE if type(text) is str else unknown(type(text).__name__), None),)


def resized(runs: Runs, length: int) -> Runs:
    """Return runs of one origin, for a text of another length."""
    return ((length, runs[0][1], runs[0][2]),) if length and runs else ()


def added(left: Runs, right: Runs) -> Runs:
    """Return the runs of two texts one after another."""
    if left and right and left[-1][1] is right[0][1] and left[-1][2] is right[0][2]:
        length, origin, place = left[-1]
        return (*left[:-1], (length + right[0][0], origin, place), *right[1:])
    return left + right


def whole_of(original: Traced, text: str, operation: str) -> str:
    """Return a text that an operation made of a whole text: of that text's one origin if it has one, else unknown."""
    origin = sole(original._runs)
    return lost(text, operation) if origin is None else traced(text, resized(original._runs[:1], len(text)))


def mapped(original: Traced, text: str, each: Callable[[str], str], operation: str) -> str:
    """Return a text that an operation made character by character. `each` does the same to a piece of the text."""
    runs = original._runs
    if len(text) == len(original) and operation != "translate":
        return traced(text, runs)
    if len(runs) == 1:
        return traced(text, resized(runs, len(text)))
    bounds = [0, *accumulate(length for length, _, _ in runs)]
    pieces = (str.__getitem__(original, slice(*span)) for span in pairwise(bounds))
    lengths = [len(each(piece)) for piece in pieces]
    if sum(lengths) != len(text):
        return whole_of(original, text, operation)
    return traced(text, tuple((n, origin, place) for n, (_, origin, place) in zip(lengths, runs, strict=True) if n))
