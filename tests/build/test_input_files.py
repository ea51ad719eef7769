"""Files that people have: whatever holds the rows, the samples are the same, also where a build goes on."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from command_line import EXAMPLE, NOT_JSON, interrupting, rows, run
from isc.build import json_arrays, sources
from isc.build.conversations import InputError
from isc.build.json_arrays import elements
from isc.build.recognition import recognized
from isc.build.sources import read_batches
from isc.cli import main, running

MANY = [json.loads(line) for line in EXAMPLE.read_text(encoding="utf-8").splitlines()] * 4
"""The rows of every file here. Tools and arguments are texts, as in files whose columns have one type."""


def as_texts(row: dict[str, Any]) -> dict[str, Any]:
    for message in row["messages"]:
        for call in message.get("tool_calls") or []:
            arguments = call["function"]["arguments"]
            call["function"]["arguments"] = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {**row, "tools": json.dumps(row["tools"]) if row.get("tools") else None}


def is_plain(row: dict[str, Any]) -> bool:
    return not any(isinstance(message["content"], list) for message in row["messages"])


ROWS = [as_texts({**row, "id": number}) for number, row in enumerate(MANY) if is_plain(row)]
TABLE = pyarrow.Table.from_pylist(ROWS)


def lines() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def tabled(write: Callable[[io.BytesIO], None]) -> bytes:
    sink = io.BytesIO()
    write(sink)
    return sink.getvalue()


def as_file(sink: io.BytesIO) -> None:
    with ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, 9)


def as_stream(sink: io.BytesIO) -> None:
    with ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, 9)


def zstd(content: bytes) -> bytes:
    half = len(content) // 2
    sink = pyarrow.BufferOutputStream()
    for piece in (content[:half], content[half:]):  # two frames, as `cat a.zst b.zst` makes
        with pyarrow.CompressedOutputStream(sink, "zstd") as packing:
            packing.write(piece)
        sink = sink if piece is content[half:] else grown(sink)
    return sink.getvalue().to_pybytes()


def grown(sink: pyarrow.BufferOutputStream) -> pyarrow.BufferOutputStream:
    """A sink with the same content that can be written on."""
    new = pyarrow.BufferOutputStream()
    new.write(sink.getvalue().to_pybytes())
    return new


def contents(tmp_path: Path) -> dict[str, bytes]:
    parquet.write_table(TABLE, str(tmp_path / "made"), row_group_size=13)
    return {
        "a.jsonl": lines(),
        "a.json": json.dumps(ROWS).encode(),
        "b.json": b"\xef\xbb\xbf" + json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
        "lines.json": lines(),
        "nameless": lines(),
        "a.parquet": (tmp_path / "made").read_bytes(),
        "a.arrow": tabled(as_file),
        "stream.arrow": tabled(as_stream),
    }


NAMES = ("a.jsonl", "a.json", "b.json", "lines.json", "nameless", "a.parquet", "a.arrow", "stream.arrow")
PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes one of the files by its name."""

    def written(name: str) -> Path:
        place = tmp_path / name
        ending = place.suffix if place.suffix in PACKED else ""
        place.write_bytes(PACKED[ending](contents(tmp_path)[name.removesuffix(ending)]))
        return place

    return written


@pytest.fixture
def wanted(tmp_path: Path) -> list[dict[str, object]]:
    (tmp_path / "plain.jsonl").write_bytes(lines())
    assert run(tmp_path / "plain.jsonl", tmp_path / "wanted.jsonl", "--keep", "id") == 0
    return rows(tmp_path / "wanted.jsonl")


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("name", NAMES)
def test_a_build_reads_every_file_from_any_batch_on(
    name: str,
    packing: str,
    write: Callable[[str], Path],
    wanted: list[dict[str, object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, output = write(name + packing), tmp_path / "out.jsonl"
    assert run(source, output, "--keep", "id") == 0
    assert rows(output) == wanted
    monkeypatch.setattr(sources, "BATCH_BYTES", 20_000)
    found = recognized(str(source))
    batches = list(read_batches(found))
    assert len(batches) > 3
    for batch in batches[::2]:
        first = batch.first + len(batch.ends)
        rest = [row for one in read_batches(found, 0, first, batch.ends[-1]) for row in one.rows()]
        whole = [row for one in batches for row in one.rows()]
        assert rest == whole[first - 1 :]
    one_row = list(read_batches(found, 0, 5, batches[0].ends[3]))  # a strict build stops inside a batch
    assert [row for one in one_row for row in one.rows()] == [row for one in batches for row in one.rows()][4:]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_packs_of_a_table_are_the_same_where_a_build_goes_on(
    tmp_path: Path, name: str, write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples are packed within a batch: what is left of a table is cut as it was cut the first time."""
    monkeypatch.setattr(sources, "_MOST_PACKED", 3000)
    more = (str(write("a.jsonl")), "--pack", "4096", "--keep", "id")
    assert run(write(name), tmp_path / "whole.jsonl", *more) == 0
    for after in (1, 2, 3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "closing", interrupting(after))
            assert run(tmp_path / name, tmp_path / "out.jsonl", *more, "--resume") == 130
    assert run(tmp_path / name, tmp_path / "out.jsonl", *more, "--resume") == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


SEVERAL = ("a.jsonl", "b.json.gz", "a.parquet", "stream.arrow.zst")


def test_a_build_of_several_files_ends_as_if_it_was_never_interrupted(
    tmp_path: Path, write: Callable[[str], Path], wanted: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(write(name)) for name in SEVERAL]
    (tmp_path / "a.jsonl").write_bytes(lines() + NOT_JSON)
    more = (*names[1:], "--keep", "id")
    assert run(names[0], tmp_path / "whole.jsonl", *more) == 1
    assert rows(tmp_path / "whole.jsonl") == wanted * 4
    said = capsys.readouterr().err
    assert f"{names[1]}: a JSON array (gzip) of the form messages" in said
    assert f"{names[0]}:53: not JSON" in said
    (rejected,) = rows(tmp_path / "whole.rejects.jsonl")
    assert (rejected["file"], rejected["line"], rejected["original"]) == (names[0], 53, NOT_JSON.decode().rstrip())
    for after in (2, 20, 20, 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "closing", interrupting(after))
            assert run(names[0], tmp_path / "out.jsonl", *more, "--resume") == 130
    assert run(names[0], tmp_path / "out.jsonl", *more, "--resume") == 1
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (tmp_path / "out.rejects.jsonl").read_bytes() == (tmp_path / "whole.rejects.jsonl").read_bytes()


def test_an_input_that_changed_is_told_by_its_place(
    tmp_path: Path, write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(write(name)) for name in ("a.jsonl", "a.parquet")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "closing", interrupting(38))
        assert run(names[0], tmp_path / "out.jsonl", names[1]) == 130
    kept = Path(names[0]).read_bytes()
    Path(names[0]).write_bytes(kept.replace(b"user", b"tool", 1))
    assert run(names[0], tmp_path / "out.jsonl", names[1], "--resume") == 2
    assert "one of the first 1 inputs has changed" in capsys.readouterr().err
    Path(names[0]).write_bytes(kept)
    parquet.write_table(TABLE, names[1], row_group_size=7)
    assert run(names[0], tmp_path / "out.jsonl", names[1], "--resume") == 2
    assert f"{names[1]} has changed" in capsys.readouterr().err


def test_patterns_are_files_in_order_and_no_file_comes_twice(
    tmp_path: Path, write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("c/1.jsonl", "b/2.jsonl", "b/1.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(lines().splitlines(keepends=True)[len(name.replace("/", "")) % 3])
    found = sources.expanded([str(tmp_path / "**" / "*.jsonl")])
    assert [str(Path(name).relative_to(tmp_path)) for name in found] == ["b/1.jsonl", "b/2.jsonl", "c/1.jsonl"]
    assert run(tmp_path / "[bc]" / "*.jsonl", tmp_path / "out.jsonl") == 0
    assert len(rows(tmp_path / "out.jsonl")) == 3
    assert f"isc: {tmp_path}/b/1.jsonl and 2 more: JSON Lines" in capsys.readouterr().err
    assert run(found[0], tmp_path / "more.jsonl", str(tmp_path / "b" / "*")) == 2
    assert "is named twice" in capsys.readouterr().err


FORMS = {
    "sharegpt": '{"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}\n',
    "prompt-completion": '{"prompt": "hi", "completion": "hello"}\n',
    "alpaca": '{"instruction": "hi", "input": "", "output": "hello"}\n',
    "messages": '[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]\n',
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_is_told_by_the_first_row_that_tells_one(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").write_text("\n[1\n7\n" + 2 * FORMS[form])
    assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl") == 1
    (tmp_path / "plain.jsonl").write_text(2 * FORMS["messages"])
    assert run(tmp_path / "plain.jsonl", tmp_path / "plain.out.jsonl") == 0
    assert rows(tmp_path / "out.jsonl") == rows(tmp_path / "plain.out.jsonl")
    assert f"of the form {form}" in capsys.readouterr().err
    parquet.write_table(pyarrow.Table.from_pylist([{**row_of(form), "extra": None}]), str(tmp_path / "in.parquet"))
    assert recognized(str(tmp_path / "in.parquet")).form == form
    (tmp_path / "one.json").write_text(json.dumps(row_of(form), indent=1))
    assert run(tmp_path / "one.json", tmp_path / "one.jsonl") == 0
    assert rows(tmp_path / "one.jsonl") == rows(tmp_path / "plain.out.jsonl")[:1]


def row_of(form: str) -> dict[str, Any]:
    row = json.loads(FORMS[form])
    return row if isinstance(row, dict) else {"messages": row}


def test_another_form_can_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = {**row_of("messages"), **row_of("alpaca"), "instruction": "hey"}
    (tmp_path / "in.jsonl").write_text(json.dumps(both) + "\n")
    assert run(tmp_path / "in.jsonl", tmp_path / "a.jsonl") == 0
    assert run(tmp_path / "in.jsonl", tmp_path / "b.jsonl", "--format", "alpaca") == 0
    assert rows(tmp_path / "a.jsonl") != rows(tmp_path / "b.jsonl")
    assert "of the form alpaca" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("in.jsonl", b'{"text": "a", "id": 1}\n{"label": 2}\n', "rows have text, id, label: that is no conversation"),
        ("in.json", b'{\n "train": []\n}', "rows have train"),
        ("in.csv", b"role,content\nuser,hi\n", "begins with 'role,content\\nuser,hi', which is not JSON"),
        ("in.json", b'[{"messages": []}] [1]', "text follows the end of the JSON array"),
        ("in.json", b'[{"messages": []}, {"mess', "ends inside an element"),
        ("in.jsonl.gz", gzip.compress(b"[]\n" * 10_000, mtime=0)[:-30], "cannot be read"),
        ("in.jsonl.zst", zstd(b"[]\n" * 10_000)[:-5], "cannot be read"),
        ("in.parquet", b"PAR1" + bytes(50), "cannot be read"),
        ("in.arrow", b"ARROW1\0\0" + bytes(3), "cannot be read"),
        ("in.parquet", b"", "it is empty"),
    ],
)
def test_a_file_of_no_known_form_is_refused_with_what_was_found(
    tmp_path: Path, name: str, content: bytes, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / name
    source.write_bytes(content)
    assert run(source, tmp_path / "out.jsonl") == 2
    told = capsys.readouterr().err
    assert problem in told
    assert told.count(str(source)) <= 2
    assert {path.name for path in tmp_path.iterdir()} <= {name, "out.rejects.jsonl"}


def test_rows_of_a_table_that_become_no_sample_are_kept_as_json(tmp_path: Path) -> None:
    bad = {"messages": [{"role": "robot", "content": "hï", "score": float("nan")}], "id": 7}
    table = pyarrow.Table.from_pylist([bad])
    parquet.write_table(table, str(tmp_path / "in.parquet"))
    assert run(tmp_path / "in.parquet", tmp_path / "out.jsonl") == 2
    (rejected,) = rows(tmp_path / "out.rejects.jsonl")
    assert json.loads(str(rejected["original"]))["messages"][0]["content"] == "hï"


def test_keys_that_arrow_padded_are_counted_and_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def row(arguments: dict[str, str]) -> dict[str, Any]:
        calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]
        return {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": calls}]}

    plain = [row({"a": "1"}), row({"b": "2"})]
    parquet.write_table(pyarrow.Table.from_pylist(plain), str(tmp_path / "in.parquet"))
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in plain))
    assert run(tmp_path / "in.jsonl", tmp_path / "wanted.jsonl") == 0
    assert "null" not in capsys.readouterr().out
    assert run(tmp_path / "in.parquet", tmp_path / "padded.jsonl") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "keys that are null: arguments 2, rendered as null; " in told
    assert "--drop-null" in told
    assert rows(tmp_path / "padded.jsonl") != rows(tmp_path / "wanted.jsonl")
    assert run(tmp_path / "in.parquet", tmp_path / "out.jsonl", "--drop-null") == 0
    assert "keys that are null: arguments 2, dropped" in " ".join(capsys.readouterr().out.split())
    assert rows(tmp_path / "out.jsonl") == rows(tmp_path / "wanted.jsonl")


def test_standard_input_is_told_too_and_packed_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    array = json.dumps([json.loads(FORMS["sharegpt"])] * 3, indent=1).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(array)))
    assert run("-", tmp_path / "a.jsonl") == 0
    assert "standard input: a JSON array of the form sharegpt" in capsys.readouterr().err
    assert len(rows(tmp_path / "a.jsonl")) == 3
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(array))))
    assert run("-", tmp_path / "b.jsonl") == 2
    assert "unpack it" in capsys.readouterr().err


JSON = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(st.sampled_from('a,"\\[]{}é\n'), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a]", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=5), st.integers(3, 40), st.sampled_from([None, 1]))
def test_an_array_is_read_element_by_element_in_pieces_of_any_size(values: list[Any], piece: int, indent: int) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "_PIECE", piece)
        found = list(elements(io.BytesIO(text)))
        assert [json.loads(element) for _, element in found] == values
        for number, (end, _) in enumerate(found, 1):
            stream = io.BytesIO(text)
            stream.seek(end)
            assert list(elements(stream, end)) == found[number:]


def test_an_array_is_not_held_in_memory() -> None:
    class Endless(io.RawIOBase):
        """An array without an end; no more of it is read than is asked for."""

        read_bytes = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:  # noqa: ANN401
            piece = (b'["hello, ]"' if not self.read_bytes else b', "hello, ]"')[: len(buffer)]
            self.read_bytes += len(piece)
            buffer[: len(piece)] = piece
            return len(piece)

    endless = Endless()
    found = elements(io.BufferedReader(endless))
    for _ in range(1000):
        next(found)
    assert endless.read_bytes < 3 * (1 << 20)


def test_an_array_with_a_missing_quote_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_arrays, "LONGEST", 1 << 20)
    text = b'[{"messages": []}, {"messages: []}' + b" " * (1 << 23)
    with pytest.raises(InputError, match="is a quote or a bracket missing"):
        list(elements(io.BytesIO(text)))


def test_without_pyarrow_what_needs_it_says_so(tmp_path: Path) -> None:
    for name, content in (("a.parquet", b"PAR1"), ("b.zst", b"\x28\xb5\x2f\xfd")):
        (tmp_path / name).write_bytes(content + bytes(20))
        command = ["build", str(tmp_path / name), "-o", str(tmp_path / "o.jsonl"), "--family", "qwen3"]
        code = "import sys; sys.modules['pyarrow'] = None; from isc.cli import main; sys.exit(main(sys.argv[1:]))"
        done = subprocess.run(
            [sys.executable, "-c", code, *command, "--loss", "assistant"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert 'needs pyarrow: pip install "isc[arrow]"' in done.stderr


def test_help_names_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--format" in text
    assert "--drop-null" in text


def test_a_data_set_by_name_needs_datasets(tmp_path: Path) -> None:
    code = "import sys; sys.modules['datasets'] = None; from isc.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["build", "hf://a/b", "-o", str(tmp_path / "o.jsonl"), "--family", "qwen3", "--loss", "assistant"]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "isc: hf://a/b: needs datasets: pip install datasets\n")
