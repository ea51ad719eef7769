"""What a report tells of a build beside its tally: lengths, reasons of rejections, and a few samples to look at.

A survey stays small whatever the size of the input, and surveys of parts add up, so that every worker takes its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from heapq import nsmallest

from msgspec import Struct

from isc.conversation.lengths import beginning
from isc.conversation.training import TrainingSample

KEPT = 8
"""How many samples are kept of the longest, of the least trained, and of all."""
MOST_TOKENS = 20_000
"""How many tokens of a sample are kept."""

_STEPS = 16
_MOST_KINDS = 40
_EXAMPLES = 3
_EXAMPLE_CHARACTERS = 600
_OTHER = "other reasons"
_PARTICULAR = re.compile(r"\(got .*\)|'[^']*'|\"[^\"]*\"|\d[\d,]*", re.DOTALL)


class Kept(Struct, frozen=True):
    """A sample to look at: sample `index` of a line, cut off behind `MOST_TOKENS` tokens.

    `length` and `trained` count the tokens of the whole sample.
    """

    line: int
    index: int
    length: int
    trained: int
    sample: TrainingSample


class Example(Struct, frozen=True):
    """A rejected line: its number, the reason, and how it begins."""

    line: int
    reason: str
    beginning: str


class Kind(Struct, frozen=True):
    """Rejections whose reasons differ only in numbers, names and values: how many, and the first few."""

    count: int
    examples: tuple[Example, ...]

    def __add__(self, other: Kind) -> Kind:
        return Kind(self.count + other.count, (*self.examples, *other.examples)[:_EXAMPLES])


class Survey(Struct, frozen=True):
    """A survey of some lines.

    Attributes:
        lengths: How many samples have a length, by the bin of that length; see `bin_of`.
        shortest: Tokens of the shortest sample; 0 where there is none.
        longest: The samples of the most tokens, the longest first.
        least_trained: The samples of which the smallest share is trained on, the smallest first.
        picked: Samples picked as if by lot, the same ones however the work is divided.
        kinds: Rejections by what their reasons have in common.
    """

    lengths: dict[int, int] = {}
    shortest: int = 0
    longest: tuple[Kept, ...] = ()
    least_trained: tuple[Kept, ...] = ()
    picked: tuple[Kept, ...] = ()
    kinds: dict[str, Kind] = {}

    def __add__(self, other: Survey) -> Survey:
        return Survey(
            {
                number: self.lengths.get(number, 0) + other.lengths.get(number, 0)
                for number in {**self.lengths, **other.lengths}
            },
            min(filter(None, (self.shortest, other.shortest)), default=0),
            _first((*self.longest, *other.longest), _by_length),
            _first((*self.least_trained, *other.least_trained), _by_share),
            _first((*self.picked, *other.picked), _by_lot),
            _joined(self.kinds, other.kinds),
        )


def survey_of(samples: Iterable[tuple[int, int, TrainingSample]], rejected: Iterable[tuple[int, str, bytes]]) -> Survey:
    """Return the survey of some lines.

    Args:
        samples: Each sample after the number of its line and its place among the samples of that line.
        rejected: Line number, reason and content of each rejected line.
    """
    all_kept = [
        Kept(line, index, len(sample.rendered), sample.trainable_tokens, sample) for line, index, sample in samples
    ]
    lengths: dict[int, int] = {}
    for kept in all_kept:
        number = bin_of(kept.length)
        lengths[number] = lengths.get(number, 0) + 1
    kinds: dict[str, Kind] = {}
    for line, reason, original in rejected:
        beginning = original[: 4 * _EXAMPLE_CHARACTERS].decode("utf-8", "replace")[:_EXAMPLE_CHARACTERS]
        kinds = _joined(kinds, {kind_of(reason): Kind(1, (Example(line, reason, beginning.rstrip()),))})
    orders = (_by_length, _by_share, _by_lot)
    longest, least_trained, picked = (tuple(map(_cut, _first(all_kept, order))) for order in orders)
    return Survey(lengths, min((kept.length for kept in all_kept), default=0), longest, least_trained, picked, kinds)


def bin_of(length: int) -> int:
    """Return the number of the bin that holds a length: 16 bins from a power of two to the next.

    >>> bin_of(32), bin_of(33), bin_of(34), least_of(bin_of(34))
    (80, 80, 81, 34)
    """
    octave = max(length, 1).bit_length() - 1
    return octave * _STEPS + (max(length, 1) * _STEPS >> octave) - _STEPS


def least_of(number: int) -> int:
    """Return the least length that a bin may hold.

    >>> [least_of(number) for number in (80, 81, 96)]
    [32, 34, 64]
    """
    octave, step = divmod(number, _STEPS)
    return -(-((_STEPS + step) << octave) // _STEPS)


def kind_of(reason: str) -> str:
    """Return what a reason has in common with others: numbers, quoted values and what was got are left out.

    >>> kind_of("messages[3].role: unknown role (got 'bot')")
    'messages[N].role: unknown role'
    >>> kind_of("not JSON: 'x' at column 12")
    'not JSON: … at column N'
    """
    return " ".join(_PARTICULAR.sub(_left_out, reason).split())


def _left_out(particular: re.Match[str]) -> str:
    first = particular[0][0]
    return "" if first == "(" else "N" if first.isdigit() else "…"


def _joined(first: Mapping[str, Kind], second: Mapping[str, Kind]) -> dict[str, Kind]:
    """Join kinds of rejections. Where there are too many, the rarest are put together."""
    joined = {name: first.get(name, Kind(0, ())) + second.get(name, Kind(0, ())) for name in (*first, *second)}
    if len(joined) > _MOST_KINDS:
        others = sorted((name for name in joined if name != _OTHER), key=lambda name: joined[name].count)
        for name in others[: len(joined) - _MOST_KINDS + (_OTHER not in joined)]:
            joined[_OTHER] = joined.get(_OTHER, Kind(0, ())) + joined.pop(name)
    return joined


def _first(samples: Sequence[Kept], order: Callable[[Kept], tuple[object, ...]]) -> tuple[Kept, ...]:
    return tuple(nsmallest(KEPT, samples, key=order))


def _by_length(kept: Kept) -> tuple[object, ...]:
    return -kept.length, kept.line, kept.index


def _by_share(kept: Kept) -> tuple[object, ...]:
    return kept.trained / max(kept.length, 1), -kept.length, kept.line, kept.index


def _by_lot(kept: Kept) -> tuple[object, ...]:
    return (blake2b(f"{kept.line}.{kept.index}".encode(), digest_size=8).digest(),)


def _cut(kept: Kept) -> Kept:
    """Return a sample that is kept with its first tokens alone, and without what processors made of its images."""
    sample, rendered = kept.sample, kept.sample.rendered
    if len(rendered) <= MOST_TOKENS and rendered.multi_modal_data is None:
        return kept
    return Kept(kept.line, kept.index, kept.length, kept.trained, beginning(sample, MOST_TOKENS))
