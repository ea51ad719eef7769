"""A survey: the same however the work is divided, as what a plain look at all samples gives, and small."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from command_line import NOT_JSON, rows, run, write_many
from isc.build import survey as surveys
from isc.build.survey import KEPT, MOST_TOKENS, Kept, Survey, bin_of, kind_of, least_of, survey_of
from isc.cli.files import State
from isc.conversation.training import TrainingSample
from isc.rendered import RenderedTokens, Run


def sample(length: int, trained: int) -> TrainingSample:
    rendered = RenderedTokens((7,) * length, (Run(length, 0, True),), ("assistant",), (None,))
    return TrainingSample(rendered, ((length - trained, length),) if trained else ())


SAMPLES = st.lists(
    st.tuples(st.integers(1, 300), st.floats(0, 1)).map(lambda drawn: (drawn[0], int(drawn[0] * drawn[1]))), max_size=60
)


@given(SAMPLES, st.lists(st.integers(0, 60), max_size=6))
def test_surveys_of_parts_add_up_to_the_survey_of_all(shapes: list[tuple[int, int]], cuts: list[int]) -> None:
    numbered = [(line, 0, sample(*shape)) for line, shape in enumerate(shapes, 1)]
    rejected = [(line, f"reason {chr(97 + line % 5)} {line}", b"x") for line in range(len(shapes))]
    ends = [0, *sorted(min(cut, len(shapes)) for cut in cuts), len(shapes)]
    parts = [survey_of(numbered[start:end], rejected[start:end]) for start, end in pairwise(ends)]
    assert sum(parts, Survey()) == survey_of(numbered, rejected)


@given(SAMPLES)
def test_what_is_kept_is_what_sorting_all_would_put_first(shapes: list[tuple[int, int]]) -> None:
    survey = survey_of([(line, 0, sample(*shape)) for line, shape in enumerate(shapes)], ())
    by_length = sorted(range(len(shapes)), key=lambda line: (-shapes[line][0], line))
    assert [kept.line for kept in survey.longest] == by_length[:KEPT]
    shares = [kept.trained / kept.length for kept in survey.least_trained]
    assert shares == sorted(trained / length for length, trained in shapes)[:KEPT]
    assert survey.shortest == min((length for length, _ in shapes), default=0)
    assert sum(survey.lengths.values()) == len(shapes)
    assert len(survey.picked) == min(KEPT, len(shapes))


@given(st.integers(1, 2**31 - 1))
def test_a_bin_holds_the_lengths_from_its_least_to_the_next(length: int) -> None:
    assert least_of(bin_of(length)) <= length < least_of(bin_of(length) + 1)
    assert (least_of(bin_of(length) + 1) - 1) / length <= 1 + 1 / 16


def test_a_long_sample_is_cut_and_told_in_full() -> None:
    survey = survey_of([(1, 0, sample(MOST_TOKENS + 50, 100))], ())
    (kept,) = survey.longest
    assert (kept.length, kept.trained) == (MOST_TOKENS + 50, 100)
    assert kept.sample.loss_spans == ((MOST_TOKENS - 50, MOST_TOKENS),)
    assert len(kept.sample.rendered) == MOST_TOKENS


def test_reasons_are_put_together_by_what_they_share_and_never_grow_without_bound() -> None:
    assert kind_of("messages[12].role: x (got 'a)b')") == kind_of("messages[3].role: x (got 'c')")
    words = [f"{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in range(200)]
    rejected = [(line, f"no {word}", b"[") for line, word in enumerate(words * 2)] + [(9, "not JSON", NOT_JSON)] * 5
    kinds = survey_of((), rejected).kinds
    assert len(kinds) == surveys._MOST_KINDS
    assert sum(kind.count for kind in kinds.values()) == len(rejected)
    assert kinds["not JSON"].count == 5
    assert all(len(kind.examples) <= 3 for kind in kinds.values())


def test_a_survey_survives_the_note_of_a_build() -> None:
    kept = survey_of([(3, 1, sample(9, 4))], [(4, "no", b"\xff[")])
    noted = msgspec.json.decode(msgspec.json.encode(kept), type=Survey)
    assert noted == kept
    assert noted.longest == (Kept(3, 1, 9, 4, sample(9, 4)),)


def test_a_report_is_the_same_with_several_workers_and_after_a_resume(tmp_path: Path) -> None:
    source = write_many(tmp_path / "many.jsonl")
    for name, more in (("one", ()), ("two", ("--workers", "2"))):
        run(source, tmp_path / f"{name}.jsonl", "--report", str(tmp_path / f"{name}.html"), *more)
    pages = [(tmp_path / f"{name}.html").read_text().replace("two.jsonl", "one.jsonl") for name in ("one", "two")]
    assert pages[0] == pages[1]
    block = pages[0].partition('id="data">')[2].partition("</script>")[0]
    report = json.loads(block)["report"]
    assert sum(count for _, count in report["bins"]) == report["samples"] == len(rows(tmp_path / "one.jsonl")) > 40
    lines = source.read_bytes().splitlines(keepends=True)
    resumed = tmp_path / "resumed.jsonl"
    asked = ("--report", str(tmp_path / "resumed.html"))
    assert run(source, resumed, "--strict", *asked) == 1  # stops at its first bad line
    assert not (tmp_path / "resumed.html").exists()
    good = [line for number, line in enumerate(lines) if number not in (9, 50)]
    source.write_bytes(b"".join([*lines[:9], *good[9:]]))
    assert run(source, resumed, "--resume", *asked) == 0
    whole = tmp_path / "whole.jsonl"
    assert run(source, whole, "--report", str(tmp_path / "whole.html")) == 0
    assert (tmp_path / "resumed.html").read_text().replace("resumed.jsonl", "whole.jsonl") == (
        tmp_path / "whole.html"
    ).read_text()
    assert json.loads(whole.read_text().splitlines()[0])["length"] > 0


def test_a_build_without_a_report_takes_no_survey_and_one_with_another_choice_is_not_continued(
    tmp_path: Path,
) -> None:
    source = write_many(tmp_path / "many.jsonl")
    output = tmp_path / "out.jsonl"
    assert run(source, output, "--strict") == 1
    noted = msgspec.json.decode((tmp_path / "out.jsonl.state.json").read_bytes(), type=State)
    assert noted.survey == Survey()
    assert run(source, output, "--resume", "--report", str(tmp_path / "out.html")) == 2
