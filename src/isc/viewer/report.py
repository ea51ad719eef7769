"""A build on one page: lengths, what is trained on, why lines were rejected, and samples to open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from isc.build.samples import NOBODY, RoleTally, Tally
from isc.build.survey import MOST_TOKENS, Example, Kept, Survey, least_of
from isc.rendered import Decoder
from isc.types import ROLES
from isc.viewer.page import Page, page_of
from isc.viewer.views import View

_LISTS = {
    "Longest": "The samples of the most tokens.",
    "Least trained": "The samples of which the smallest share is trained on.",
    "Picked at random": "Any samples, to see what most of them are like.",
}


class BuildFacts(Struct, frozen=True):
    """What a build came to: lines read, the tally, the survey, and notes to be told."""

    lines: int
    tally: Tally
    survey: Survey
    notes: tuple[str, ...] = ()


class RoleRow(Struct, frozen=True):
    """Tokens of one role."""

    role: str
    tokens: int
    body: int
    trained: int


class KindRow(Struct, frozen=True):
    """Rejections of one kind."""

    kind: str
    count: int
    examples: tuple[Example, ...]


class SampleRow(Struct, frozen=True):
    """A sample to open: `at` is its place among the page's sequences."""

    at: int
    line: int
    index: int
    length: int
    trained: int


class SampleList(Struct, frozen=True):
    """Samples under a heading."""

    title: str
    lead: str
    rows: tuple[SampleRow, ...]


class Report(Struct, frozen=True):
    """What the page's script reads; `bins` are the least length and the count of each bin, from the shortest."""

    lines: int
    samples: int
    rejected: int
    notes: tuple[str, ...]
    shortest: int
    longest: int
    bins: tuple[tuple[int, int], ...]
    roles: tuple[RoleRow, ...]
    kinds: tuple[KindRow, ...]
    lists: tuple[SampleList, ...]


def report_page(built: BuildFacts, decoder: Decoder, title: str, subtitle: str = "") -> Page:
    """Return the page of a build, with the samples that its survey kept.

    Args:
        built: What the build came to.
        decoder: The encoder that the samples were made with.
        title: What the page is called.
        subtitle: A line on how the samples were made.
    """
    survey, tally = built.survey, built.tally
    lists = dict(zip(_LISTS, (survey.longest, survey.least_trained, survey.picked), strict=True))
    places: dict[tuple[int, int], int] = {}
    views: list[View] = []
    for kept in (kept for listed in lists.values() for kept in listed):
        if (kept.line, kept.index) not in places:
            places[kept.line, kept.index] = len(views)
            views.append(_view(kept))
    report = Report(
        built.lines,
        tally.samples,
        tally.rejected,
        built.notes,
        survey.shortest,
        max((kept.length for kept in survey.longest), default=0),
        tuple((least_of(number), count) for number, count in sorted(survey.lengths.items())),
        tuple(_role_rows(tally.roles)),
        tuple(_kind_rows(survey)),
        tuple(SampleList(name, _LISTS[name], _rows(listed, places)) for name, listed in lists.items()),
    )
    return page_of(views, decoder, title, subtitle, report)


def _view(kept: Kept) -> View:
    name = f"Line {kept.line:,}" + (f", sample {kept.index + 1}" if kept.index else "")
    notes = [f"{name}: {kept.trained:,} of {kept.length:,} tokens are trained on."]
    if kept.length > MOST_TOKENS:
        notes.append(f"Only the first {MOST_TOKENS:,} tokens are on this page.")
    return View(name, kept.sample.rendered, kept.sample.loss_spans, notes=tuple(notes))


def _rows(listed: Iterable[Kept], places: Mapping[tuple[int, int], int]) -> tuple[SampleRow, ...]:
    return tuple(
        SampleRow(places[kept.line, kept.index], kept.line, kept.index, kept.length, kept.trained) for kept in listed
    )


def _role_rows(roles: Mapping[str, RoleTally]) -> Iterable[RoleRow]:
    order = [*ROLES.values(), NOBODY]
    for role in sorted(roles, key=order.index):
        counted = roles[role]
        yield RoleRow(role, counted.tokens, counted.body, counted.trained)


def _kind_rows(survey: Survey) -> Iterable[KindRow]:
    """Yield the kinds of rejections, the most frequent first."""
    for name, kind in sorted(survey.kinds.items(), key=lambda item: (-item[1].count, item[0])):
        yield KindRow(name, kind.count, kind.examples)
