"""Two builds on one output, full disks, directories in the way: refused or told, and no line is lost."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from command_line import EXAMPLE, files_in, rows, run, write_many
from isc.build import arrow
from isc.cli import files, main
from isc.cli.files import BuildPaths

OPTIONS = ("--family", "qwen3", "--loss", "assistant")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write_many(tmp_path / "many.jsonl")


def test_the_second_of_two_builds_on_one_output_is_refused(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    target, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    run(many, whole)
    note = files.BuildOutput.note
    second: list[subprocess.CompletedProcess[str]] = []

    def with_another(self: files.BuildOutput) -> None:
        note(self)
        if len(second) < 3:  # at the beginning, in the middle and at the end of the first
            more = ["--overwrite", "--resume", "--workers=1"][len(second)]
            command = [sys.executable, "-m", "isc.cli", "build", str(many), "-o", str(target), *OPTIONS, more]
            second.append(subprocess.run(command, capture_output=True, text=True, check=False))

    monkeypatch.setattr(files.BuildOutput, "note", with_another)
    monkeypatch.setattr(files, "_SECONDS_BETWEEN_NOTES", 0.0)
    capfd.readouterr()
    assert run(many, target) == 1
    assert [process.returncode for process in second] == [2, 2, 2]
    for process in second:
        assert process.stderr.strip() == (
            f"isc: {target}: another isc is writing it; wait for that to end, or write to another name"
        )
    assert target.read_bytes() == whole.read_bytes()
    assert (tmp_path / "out.rejects.jsonl").read_bytes() == (tmp_path / "whole.rejects.jsonl").read_bytes()
    assert files_in(tmp_path) == {"out.jsonl", "out.rejects.jsonl", "whole.jsonl", "whole.rejects.jsonl"}


def test_two_builds_at_once_write_what_one_writes(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(EXAMPLE.read_bytes() * 60)
    command = [sys.executable, "-m", "isc.cli", "build", str(source), "-o", str(target), *OPTIONS]
    codes: list[int] = []
    both = [
        threading.Thread(
            target=lambda: codes.append(subprocess.run(command, capture_output=True, check=False).returncode)
        )
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(codes) == [0, 2]
    assert len(rows(target)) == len(source.read_bytes().splitlines())
    assert files_in(tmp_path) == {"out.jsonl"}


def test_two_renders_on_one_output_do_not_mix(tmp_path: Path, many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "rendered.jsonl"
    with files.whole_file(target, overwrite=False) as stream:
        stream.write(b"first")
        assert main(["render", str(many), "-o", str(target), "--family", "qwen3"]) == 2
    assert "another isc is writing it" in capsys.readouterr().err
    assert target.read_bytes() == b"first"
    assert files_in(tmp_path) == {"rendered.jsonl"}


LIMITED = """
import resource, sys
from isc.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("output", ["out.jsonl", "out.parquet"])
def test_a_full_disk_names_the_file_and_resume_goes_on(tmp_path: Path, output: str) -> None:
    """A limit on the size of files stands for the full disk: a write fails in the middle of a row."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(EXAMPLE.read_bytes() * 200)
    whole = tmp_path / f"whole{output}"
    assert main(["build", str(source), "-o", str(whole), *OPTIONS]) == 0
    arguments = ["build", str(source), "-o", str(tmp_path / output), *OPTIONS]
    limited = [sys.executable, "-c", LIMITED, "900000", *arguments]
    full = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert full.returncode == 2, full.stderr
    said, failed = full.stderr.splitlines()
    assert said == f"isc: {source}: JSON Lines of the form messages"
    assert failed.startswith(f"isc: {tmp_path / output}.partial: File too large; line ")
    assert full.stderr.rstrip().endswith("was reached: make room and pass --resume")
    assert not (tmp_path / output).exists()
    assert main([*arguments, "--resume"]) == 0
    assert (tmp_path / output).read_bytes() == whole.read_bytes()


def test_a_full_disk_at_the_very_end_is_told_as_well(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(arrow, "to_parquet", full)
        assert run(many, tmp_path / "out.parquet") == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'out.parquet'}: No space left on device" in told
    assert "--resume" in told
    assert run(many, tmp_path / "out.parquet", "--resume") == 1
    assert run(many, tmp_path / "whole.parquet") == 1
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.parametrize("output", ["out.jsonl", "out.parquet"])
def test_a_build_that_dies_after_its_output_has_its_name_keeps_it(
    tmp_path: Path, many: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def dying(path: Path, missing_ok: bool = False) -> None:
        if path.name == f"{output}.state.json" and (tmp_path / output).exists():
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dying)
        assert run(many, tmp_path / output) == 130
    before = (tmp_path / output).read_bytes()
    assert run(many, tmp_path / output, "--resume") == 1
    assert (tmp_path / output).read_bytes() == before
    assert files_in(tmp_path) == {output, "out.rejects.jsonl"}


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is loaded and no line is read."""

    def work(*_: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("isc.cli.commands.choose", work)
    monkeypatch.setattr("isc.cli.running.run_build", work)


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_an_output_that_is_a_directory_is_refused_before_any_work(
    tmp_path: Path, overwrite: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("out.jsonl", "out.rejects.jsonl"):
        (tmp_path / name).mkdir()
        source, target = str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")
        assert main(["build", source, "-o", target, *OPTIONS, *overwrite]) == 2
        assert f"isc: {tmp_path / name} is a directory; name a file\n" == capsys.readouterr().err
        assert main(["render", source, "-o", str(tmp_path / name), "--family", "qwen3", *overwrite]) == 2
        assert f"isc: {tmp_path / name} is a directory; name a file\n" == capsys.readouterr().err
        (tmp_path / name).rmdir()
    assert files_in(tmp_path) == set()


def test_a_directory_that_stands_where_the_partial_output_goes_is_told(
    tmp_path: Path, many: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = BuildPaths((str(many),), tmp_path / "out.jsonl", tmp_path / "out.rejects.jsonl")
    paths.partial.mkdir()
    assert run(many, paths.output) == 2
    assert f"{paths.partial}: Is a directory" in capsys.readouterr().err


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize("name", ["out.jsonl.partial", "out.jsonl.rejects.partial", "out.jsonl.state.json"])
@pytest.mark.parametrize("place", ["input", "rejects"])
def test_a_file_that_the_build_itself_writes_is_no_input_and_no_rejects_file(
    tmp_path: Path, name: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such an input would be emptied before a line of it was read."""
    target, taken = tmp_path / "out.jsonl", tmp_path / name
    source = taken if place == "input" else EXAMPLE
    if place == "input":
        taken.write_bytes(EXAMPLE.read_bytes())
    more = ["--rejects", str(taken)] if place == "rejects" else []
    assert main(["build", str(source), "-o", str(target), *OPTIONS, "--overwrite", *more]) == 2
    assert "different files" in capsys.readouterr().err
    assert source.read_bytes() == EXAMPLE.read_bytes()


@pytest.mark.parametrize("name", ["out.jsonl.partial", "out.jsonl"])
def test_a_render_does_not_empty_its_input(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / name
    source.write_bytes(EXAMPLE.read_bytes())
    command = ["render", str(EXAMPLE), str(source), "-o", str(tmp_path / "out.jsonl"), "--family", "qwen3"]
    assert main([*command, "--overwrite"]) == 2
    assert "different files" in capsys.readouterr().err
    assert source.read_bytes() == EXAMPLE.read_bytes()
