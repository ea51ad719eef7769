"""The files of `isc build`: what is overwritten, what stops, and that an interrupted build ends as if it never was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import CHAT, EXAMPLE, NOT_JSON, files_in, interrupting, rows, run, write_many
from isc.build import arrow, sources
from isc.cli import main, running
from small_templates import CHATML
from tokenizer_files import byte_level, text_of, with_added_tokens


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write_many(tmp_path / "many.jsonl")


OUTPUTS = ("out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.parquet")


@pytest.mark.parametrize("output", OUTPUTS)
def test_strict_stops_at_the_bad_line_and_resume_goes_on_once_it_is_mended(
    tmp_path: Path, many: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(many, tmp_path / output, "--strict") == 1
    assert f"{many}:10: not JSON" in capsys.readouterr().err
    assert not (tmp_path / output).exists()
    assert not (tmp_path / "out.rejects.jsonl").exists()
    lines = many.read_bytes().splitlines(keepends=True)
    lines[9] = lines[50] = CHAT
    many.write_bytes(b"".join(lines))
    assert run(many, tmp_path / output, "--strict") == 2
    assert "--resume" in capsys.readouterr().err
    assert run(many, tmp_path / output, "--strict", "--resume") == 0
    assert run(many, tmp_path / f"whole{output}") == 0
    if "." in Path(output).stem:  # the line at which it stopped ends a member
        assert rows(tmp_path / output) == rows(tmp_path / f"whole{output}")
    else:
        assert (tmp_path / output).read_bytes() == (tmp_path / f"whole{output}").read_bytes()


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_interrupted_build_ends_as_if_it_never_was(
    tmp_path: Path, many: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / f"whole{output}"
    assert run(many, whole) == 1
    summary = capsys.readouterr().out.splitlines()[1:]
    for after, more in ((3, ()), (0, ("--resume",)), (4, ("--resume",)), (2, ("--resume",))):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "closing", interrupting(after))
            assert run(many, tmp_path / output, *more) == 130
        assert "--resume goes on" in capsys.readouterr().err
        with (tmp_path / f"{output}.partial").open("ab") as partial:
            partial.write(b"written after the last note")
    assert run(many, tmp_path / output, "--resume") == 1
    assert capsys.readouterr().out.splitlines()[1:] == summary
    assert (tmp_path / output).read_bytes() == whole.read_bytes()
    assert (tmp_path / "out.rejects.jsonl").read_bytes() == (tmp_path / "wholeout.rejects.jsonl").read_bytes()
    assert not (tmp_path / f"{output}.partial").exists()
    assert not (tmp_path / f"{output}.state.json").exists()


KILLED = """
import os, signal, sys
from isc.cli import files, main
write = files.BuildOutput.write
def write_and_die(self, built, **more):
    write(self, built, **more)
    if self.state.lines > int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
files.BuildOutput.write = write_and_die
files._SECONDS_BETWEEN_NOTES = 0.0
main(sys.argv[2:])
"""


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"])
def test_a_killed_build_can_be_resumed(tmp_path: Path, name: str) -> None:
    """What is noted of it is whole members, each of whole lines."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(EXAMPLE.read_bytes() * 40)
    output = tmp_path / name
    arguments = ["build", str(source), "-o", str(output), "--family", "qwen3", "--loss", "assistant"]
    killed = subprocess.run([sys.executable, "-c", KILLED, "100", *arguments], check=False)
    assert killed.returncode == -9
    state = json.loads((tmp_path / f"{name}.state.json").read_bytes())
    assert 100 < state["lines"] < 560
    noted = (tmp_path / f"{name}.partial").read_bytes()[: state["outputs"][""]]
    (tmp_path / f"noted-{name}").write_bytes(noted)
    assert len(rows(tmp_path / f"noted-{name}")) == state["lines"]
    assert main([*arguments, "--resume"]) == 0
    assert len(rows(output)) == 560


def test_a_parquet_that_was_not_finished_is_finished_by_resume(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(arrow, "to_parquet", interrupted)
        assert run(many, tmp_path / "out.parquet") == 130
    assert run(many, tmp_path / "out.parquet", "--resume") == 1
    assert run(many, tmp_path / "whole.parquet") == 1
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.fixture
def interrupted(tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output of a build that was interrupted."""
    with monkeypatch.context() as patch:
        patch.setattr(running, "closing", interrupting(3))
        assert run(many, tmp_path / "out.jsonl") == 130
    return tmp_path / "out.jsonl"


@pytest.mark.parametrize(
    "more", [("--max-tokens", "9"), ("--columns", "attribution"), ("--option", "enable_thinking=0")]
)
def test_resume_with_other_options_is_refused(
    many: Path, interrupted: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(many, interrupted, "--resume", *more) == 2
    assert "the interrupted build had" in capsys.readouterr().err


def test_resume_with_another_input_is_refused(
    many: Path, interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many.write_bytes(many.read_bytes().replace(b"user", b"tool", 1))
    assert run(many, interrupted, "--resume") == 2
    assert "changed in the" in capsys.readouterr().err
    assert run("-", interrupted, "--resume") == 2
    assert "read again" in capsys.readouterr().err


def test_resume_without_the_partial_output_is_refused(
    many: Path, interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted.with_name("out.jsonl.partial").write_bytes(b"")
    assert run(many, interrupted, "--resume") == 2
    assert "shorter than it was" in capsys.readouterr().err
    interrupted.with_name("out.jsonl.state.json").write_bytes(b"{}")
    assert run(many, interrupted, "--resume") == 2
    assert run(many, interrupted, "--overwrite") == 1


def test_resume_of_nothing_starts_at_the_beginning(tmp_path: Path) -> None:
    assert run(EXAMPLE, tmp_path / "out.jsonl", "--resume") == 0
    assert run(EXAMPLE, tmp_path / "out.jsonl", "--resume") == 2


def test_nothing_is_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("precious")
    assert run(EXAMPLE, output) == 2
    assert "exists already" in capsys.readouterr().err
    assert output.read_text() == "precious"
    source = tmp_path / "in.jsonl"
    source.write_bytes(NOT_JSON)
    assert run(source, output, "--overwrite") == 2
    assert output.read_text() == "precious"
    assert run(EXAMPLE, output, "--overwrite") == 0
    assert len(rows(output)) == 14
    assert not (tmp_path / "out.rejects.jsonl").exists()
    for same in (output, tmp_path / ".." / tmp_path.name / "out.jsonl"):
        assert run(same, output, "--overwrite") == 2
        assert run(EXAMPLE, output, "--overwrite", "--rejects", str(same)) == 2
    assert run(EXAMPLE, output, "--overwrite", "--resume") == 2
    assert len(rows(output)) == 14


def test_standard_input_is_built_but_cannot_be_resumed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "isc.cli", "build", "-", "-o", "out.jsonl", "--family", "qwen3"]
    command += ["--loss", "assistant", "--workers", "2"]
    done = subprocess.run(command, input=EXAMPLE.read_bytes(), cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0
    assert len(rows(tmp_path / "out.jsonl")) == 14
    done = subprocess.run([*command, "--overwrite", "--strict"], input=CHAT + NOT_JSON, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert run("-", tmp_path / "out.jsonl", "--resume") == 2


def test_a_build_that_got_nowhere_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(NOT_JSON)
    assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--strict") == 1
    assert files_in(tmp_path) == set()


@pytest.mark.filterwarnings("ignore::isc.errors.TracedTemplateNotice")
@pytest.mark.parametrize(
    ("file", "before", "after", "refusal"),
    [
        ("", "", "", ""),
        ("tokenizer.json", '"version"', ' "version"', "vocabulary_digest"),
        ("chat_template.jinja", "content", "content | trim", "family"),
    ],
)
def test_resume_compares_what_a_model_holds_and_not_where_it_lies(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch, file: str, before: str, after: str, refusal: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    model, moved, output = tmp_path / "model", tmp_path / "moved", tmp_path / "out.jsonl"
    model.mkdir()
    (model / "tokenizer.json").write_text(text_of(with_added_tokens(byte_level(), ["<|im_start|>", "<|im_end|>"])))
    (model / "chat_template.jinja").write_text(CHATML)
    command = ["build", str(many), "-o", str(output), "--loss", "assistant", "--model"]
    with monkeypatch.context() as patch:
        patch.setattr(running, "closing", interrupting(1))
        patch.setattr(sources, "BATCH_BYTES", 4000)
        assert main([*command, str(model)]) == 130
    model.rename(moved)
    if file:
        (moved / file).write_text((moved / file).read_text().replace(before, after, 1))
    assert main([*command, str(moved), "--resume"]) == (2 if refusal else 1)
    assert (f"the interrupted build had {refusal} = " in capsys.readouterr().err) == bool(refusal)
