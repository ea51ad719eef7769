"""`isc show --html` and `isc build --report`: the pages are those of the library, and no file is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import isc
from command_line import CHAT
from isc import viewer
from isc.cli import Exit, main
from isc.types import BodyPart

SHOW = ("--family", "qwen3", "--html")


@pytest.mark.parametrize(
    ("loss", "roles"), [("assistant", {"assistant"}), ("assistant+tool-bodies", {"assistant", "tool"})]
)
def test_a_page_is_that_of_the_sample_of_this_loss(
    root: Path, tmp_path: Path, small: isc.Renderer, output: Callable[..., str], loss: str, roles: set[str]
) -> None:
    source = root / "examples" / "tools.json"
    given = json.loads(source.read_text())
    saying = msgspec.structs.replace(small, parts=True)
    sample = isc.build_training_sample(saying, given["messages"], given["tools"], content_sft_roles=roles)
    said = output("show", source, *SHOW, tmp_path / "out.html", "--loss", loss)
    assert f"out.html: {len(sample.rendered):,} tokens of {source}" in said
    subtitle = f"qwen3 · embedded vocabulary · loss {loss}"
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert page == viewer.html(sample, title=str(source), subtitle=subtitle)


def test_a_page_marks_parts_where_the_loss_names_them(
    root: Path, tmp_path: Path, small: isc.Renderer, output: Callable[..., str]
) -> None:
    source = root / "examples" / "tools.json"
    given = json.loads(source.read_text())
    parts: dict[str, tuple[BodyPart, ...]] = {"assistant": ("tool_call",)}
    sample = isc.build_training_sample(small, given["messages"], given["tools"], parts=parts)
    output("show", source, *SHOW, tmp_path / "out.html", "--loss", "assistant:tool_call")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["sequences"][0]["trained"] == [list(span) for span in sample.loss_spans]
    assert 0 < sample.trainable_tokens < sum(sample.rendered.sampled_mask)


def test_a_page_goes_to_standard_output(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    source = root / "examples" / "chat.json"
    assert main(["show", str(source), *SHOW, "-", "--generation-prompt"]) == Exit.OK
    page = capfdbinary.readouterr().out
    assert page.startswith(b"<!doctype html>")
    assert page.rstrip().endswith(b"</html>")


def test_a_page_takes_the_place_of_no_file_unasked(
    tmp_path: Path, output: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, page = tmp_path / "in.json", tmp_path / "out.html"
    source.write_bytes(CHAT)
    output("show", source, *SHOW, page)
    assert main(["show", str(source), *SHOW, str(page)]) == Exit.FAILED
    assert "--overwrite" in capsys.readouterr().err
    output("show", source, *SHOW, page, "--overwrite")
    assert main(["show", str(source), *SHOW, str(source), "--overwrite"]) == Exit.FAILED
    assert source.read_bytes() == CHAT


def test_an_option_is_no_name_of_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.json"
    source.write_bytes(CHAT)
    assert main(["show", str(source), *SHOW, "--loss", "assistant"]) == Exit.FAILED
    assert "There is no option --loss" in capsys.readouterr().err
    assert main(["show", str(source), *SHOW, str(tmp_path / "x.html"), "--loss", "asistant"]) == Exit.FAILED
    assert "'asistant' is no term" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_a_report_takes_the_place_of_no_file_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, page = tmp_path / "in.jsonl", tmp_path / "report.html"
    source.write_bytes(CHAT)
    page.write_text("mine")
    command = ["build", str(source), "--family", "qwen3", "--loss", "assistant", "-o", str(tmp_path / "out.jsonl")]
    assert main([*command, "--report", str(page)]) == Exit.FAILED
    assert "report.html exists already" in capsys.readouterr().err
    assert page.read_text() == "mine"
    assert not (tmp_path / "out.jsonl").exists()
    assert main([*command, "--report", str(page), "--overwrite"]) == Exit.OK
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main([*command, "--report", str(source), "--overwrite"]) == Exit.FAILED
    assert "must be different files" in capsys.readouterr().err
    assert source.read_bytes() == CHAT
