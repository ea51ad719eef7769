"""The report of a build in a real browser, at two widths: its figures, its bars, its rejections, its samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser.driving import press, wait
from isc.cli import Exit, main

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

Opened = Callable[..., "Chrome"]
FORGED = "</script><script>document.title='forged'</script>\u202e"
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of conversations from short to long, some of them bad."""
    place = tmp_path_factory.mktemp("report")
    lines: list[object] = []
    for count in range(40):
        said = {"role": "assistant", "content": "yes " * (1 + count % 3)}
        lines.append({"messages": [{"role": "user", "content": "why " * 2 ** (count % 11)}, said]})
    lines[7] = {"messages": [{"role": FORGED, "content": "hi"}]}
    lines[8] = {"messages": [{"role": "user", "content": "never answered"}]}
    (place / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["build", str(place / "in.jsonl"), "--family", "qwen3", "--loss", "assistant", "--columns", "spans"]
    assert main([*command, "-o", str(place / "out.jsonl"), "--report", str(place / "report.html")]) == Exit.REJECTED
    return place


@pytest.fixture
def report(built: Path, opened: Opened) -> Chrome:
    return opened((built / "report.html").read_text(encoding="utf-8"))


def samples(built: Path) -> list[dict[str, Any]]:
    """The samples that the build wrote."""
    return [json.loads(line) for line in (built / "out.jsonl").read_text().splitlines()]


def test_the_figures_are_those_of_the_samples(built: Path, report: Chrome) -> None:
    figures = report.execute_script("return [...document.querySelectorAll('.figure')].map((dd) => dd.textContent)")
    rows = samples(built)
    trained = sum(end - start for row in rows for start, end in row["loss_spans"])
    tokens = sum(len(row["input_ids"]) for row in rows)
    assert figures == [f"{len(rows):,}", f"{tokens:,}", f"{trained:,}", "2"]
    table = report.execute_script(
        "return [...document.querySelectorAll('.share')].map((s) => [s.closest('tr').innerText, s.ariaLabel])"
    )
    assert len(table) == 2
    assert f"{trained:,}" in table[1][0]
    assert "0 % trained on" in table[0][1]


def test_the_bars_hold_every_sample_once(built: Path, report: Chrome) -> None:
    told = report.execute_script("return [...document.querySelectorAll('.bins li')].map((li) => li.title)")
    ranges = []
    for words in map(str.split, told):
        least, most, count = (int(words[place].replace(",", "")) for place in (0, 2, 4))
        ranges.append((least, most, count))
    lengths = [len(row["input_ids"]) for row in samples(built)]
    assert [count for *_, count in ranges] == [
        sum(least <= length <= most for length in lengths) for least, most, _ in ranges
    ]
    assert sum(count for *_, count in ranges) == len(lengths)
    heights = report.execute_script("return [...document.querySelectorAll('.bins .bar')].map((b) => b.offsetHeight)")
    tallest = max(range(len(ranges)), key=lambda place: ranges[place][2])
    assert heights[tallest] == max(heights) > 100


def test_rejections_come_with_examples_that_stay_text(report: Chrome) -> None:
    kinds = report.execute_script("return [...document.querySelectorAll('details.kind')].map((d) => d.textContent)")
    assert len(kinds) == 2
    assert any("line 8" in kind and "forged" in kind for kind in kinds)
    assert any("line 9" in kind and "never answered" in kind for kind in kinds)
    assert "\u202e" not in "".join(kinds)
    assert report.title == "out.jsonl"
    assert report.execute_script("return document.scripts.length") == 2


def test_a_click_opens_a_sample_and_the_way_leads_back(built: Path, report: Chrome) -> None:
    rows = samples(built)
    longest = max(range(len(rows)), key=lambda place: len(rows[place]["input_ids"]))
    link = report.find_element("css selector", "td a")
    report.execute_script("arguments[0].scrollIntoView({ block: 'center' })", link)
    link.click()
    wait(report, "viewer.sequence")
    assert report.execute_script("return viewer.sequence.ids") == rows[longest]["input_ids"]
    assert report.execute_script("return viewer.sequence.trained") == rows[longest]["loss_spans"]
    assert report.find_element("id", "back").is_displayed()
    press(report, "j", "j")
    report.back()
    wait(report, "document.querySelector('.cards')")
    assert not report.find_element("id", "back").is_displayed()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_of_it_can_be_read_and_fits(built: Path, opened: Opened, theme: str) -> None:
    chromium = opened((built / "report.html").read_text(encoding="utf-8"), theme)
    checked, failures = chromium.execute_script(CONTRAST)
    assert checked > 60
    assert failures == []
    sizes = chromium.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert sizes[0] <= sizes[1]


def test_an_empty_build_has_a_report_too(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "in.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    command = ["build", str(tmp_path / "in.jsonl"), "--family", "qwen3", "--loss", "assistant"]
    code = main([*command, "-o", str(tmp_path / "out.jsonl"), "--report", str(tmp_path / "report.html")])
    assert code == Exit.FAILED
    chromium = opened((tmp_path / "report.html").read_text(encoding="utf-8"))
    figures = chromium.execute_script("return [...document.querySelectorAll('.figure')].map((dd) => dd.textContent)")
    assert figures == ["0", "0", "0", "1"]
