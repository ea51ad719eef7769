"""What a build costs on several processes: the parent does little, and more input takes no more memory."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import pyarrow
import pytest
from pyarrow import parquet

import isc
from command_line import files_in
from isc import cli
from isc.build import preloaded, tables, workers
from isc.build.samples import Loss, Settings, batches
from isc.cli import main, running, start_workers_ahead
from isc.cli.arguments import Manner
from isc.cli.files import BuildPaths
from isc.encoding import encoders
from isc.errors import EncoderFallbackWarning
from tokenizer_files import qwen3_file

SHARE = 0.12
"""How much of the workers' processor time the parent may take."""
ATTEMPTS = 3

MEASURED = """
import resource, sys, time
from multiprocessing import forkserver
if __name__ == "__main__":
    from isc.cli import commands, main
    before = time.process_time()
    code = main(sys.argv[1:])
    own = time.process_time() - before
    forkserver._forkserver._stop()
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))  # a rusage begins at what its parent had
    peak = max(int(status["VmHWM"].split()[0]), workers.ru_maxrss)
    print("measured", code, own, workers.ru_utime + workers.ru_stime, peak)
"""


def conversations(count: int) -> bytes:
    """Conversations of about 600 characters, all different."""
    numbers = random.Random(7)
    words = [f"{numbers.choice('bdfgklmnprstv')}{numbers.choice('aeiou')}" * numbers.randint(1, 4) for _ in range(900)]
    lines = []
    for _ in range(count):
        asked, answered = (" ".join(numbers.choices(words, k=length)) for length in (20, 80))
        lines.append([{"role": "user", "content": asked}, {"role": "assistant", "content": answered}])
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").write_text(qwen3_file())
    return tmp_path / "model"


@pytest.mark.skipif(
    preloaded.start_method() != "forkserver", reason="what worker processes cost is read from their server"
)
def test_the_parent_does_little_and_memory_does_not_grow(tmp_path: Path, model: Path) -> None:
    """Its share of the workers' processor time, and the peak of any process for an input and one four times as long."""
    (tmp_path / "measured.py").write_text(MEASURED)
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    command = [sys.executable, str(tmp_path / "measured.py"), "build", str(source), "-o", str(output), "--overwrite"]
    command += ["--model", str(model), "--family", "qwen3", "--loss", "assistant", "--workers", "2"]

    def measured(count: int) -> tuple[float, float]:
        source.write_bytes(conversations(count))
        done = subprocess.run([*command, "--columns", "spans"], capture_output=True, text=True, check=True)
        code, own, built, peak = map(float, done.stdout.split("measured")[1].split())
        assert code == 0
        return own / built, peak / 1024

    (_, before), (share, after) = measured(10_000), measured(40_000)
    grown = source.stat().st_size * 3 / 4 / 1024 / 1024
    assert grown > 10
    assert after - before < grown / 4, f"{after - before} MB more for {grown} MB more"
    shares = [share]
    while min(shares) > SHARE and len(shares) < ATTEMPTS:  # others use the machine too
        shares.append(measured(40_000)[0])
    assert min(shares) <= SHARE


READ = """
import sys
from isc.build.recognition import recognized
from isc.build.sources import read_batches
rows = sum(len(batch.ends) for batch in read_batches(recognized(sys.argv[1])))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(rows, status["VmHWM"].split()[0])
"""


def write_rows(place: Path, count: int) -> None:
    """Rows of two kilobytes, of which none is like another: in one line of JSON, or in one row group."""
    numbers = random.Random(count)
    rows = [{"messages": [{"role": "user", "content": numbers.randbytes(1000).hex()}]} for _ in range(count)]
    if place.suffix == ".json":
        place.write_bytes(msgspec.json.encode(rows))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), str(place), row_group_size=count)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read there")
@pytest.mark.parametrize("name", ["in.json", "in.parquet"])
def test_an_input_eight_times_as_long_takes_no_more_memory(tmp_path: Path, name: str) -> None:
    """The one line of an array and the one row group of a table are not held, though either is the whole file."""
    peaks = []
    for count in (2_000, 16_000):
        write_rows(tmp_path / name, count)
        done = subprocess.run(
            [sys.executable, "-c", READ, str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        rows, peak = map(int, done.stdout.split())
        assert rows == count
        peaks.append(peak)
    assert (tmp_path / name).stat().st_size > 30_000_000
    assert peaks[1] < 1.2 * peaks[0], f"{peaks} kB"


@pytest.mark.parametrize("alike", [False, True])
def test_long_rows_of_a_table_come_few_at_a_time(tmp_path: Path, alike: bool) -> None:
    """Texts that are alike are in the file once: how long rows are is told by the rows."""
    texts = (("hello" if alike else f"{number:05}") * 40_000 for number in range(100))
    talks = [{"messages": [{"role": "user", "content": text}]} for text in texts]
    parquet.write_table(pyarrow.Table.from_pylist(talks), str(tmp_path / "in.parquet"))
    with (tmp_path / "in.parquet").open("rb") as stream:
        sizes = [(batch.num_rows, batch.nbytes) for batch, _ in tables.parquet_rows(stream)]
    assert sum(rows for rows, _ in sizes) == 100
    assert max(size for _, size in sizes) <= tables.BATCH_BYTES


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_workers_are_started_as_the_system_bears_it(model: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """The parent's renderer has no engine, and those of the workers give what one here gives."""
    monkeypatch.setattr(workers, "start_method", lambda: method)
    renderer = isc.load(model, "qwen3", engine="later")
    groups = list(batches(enumerate(conversations(60).splitlines(keepends=True)), 1, 4000))
    settings = Settings(Loss(True))
    alone = list(workers.built(groups, isc.load(model, "qwen3"), settings))
    assert list(workers.built(groups, renderer, settings, workers=2)) == alone


PREPARED = """
import os
from functools import cache
from isc.build.samples import Built, Tally

@cache
def prepare(place):
    with open(place, "a") as stream:
        print(os.getpid(), file=stream)

def work(place, batch):
    prepare(place)
    return Built({}, (), Tally(), 1)
"""
BUILDS_PREPARED = """
import sys
from functools import partial
from isc.build.samples import Batch
from isc.build.workers import Pool
from prepared import prepare, work
if __name__ == "__main__":
    pool = Pool(2, partial(prepare, sys.argv[1]))
    print(len(list(pool.built(map(Batch, range(40)), partial(work, sys.argv[1])))))
"""


@pytest.mark.skipif(preloaded.start_method() != "forkserver", reason="only processes that are forked share anything")
def test_workers_share_what_was_prepared_once(tmp_path: Path) -> None:
    (tmp_path / "prepared.py").write_text(PREPARED)
    (tmp_path / "builds.py").write_text(BUILDS_PREPARED)
    command = [sys.executable, str(tmp_path / "builds.py"), str(tmp_path / "processes")]
    path = os.pathsep.join((str(tmp_path), *filter(None, sys.path)))
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    assert done.stdout == "40\n"
    assert len((tmp_path / "processes").read_text().split()) == 1


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"normalizer": {"type": "NFKC"}}, 0, "using `tokenizers` instead of fastokens"),
        ({"pre_tokenizer": {"type": "Nonsense"}}, 2, "cannot be read"),
    ],
)
def test_what_is_said_of_a_vocabulary_that_is_loaded_for_all_is_said_once(
    tmp_path: Path, model: Path, changes: dict[str, object], code: int, told: str
) -> None:
    """In a process of its own, whose workers are the first that are forked."""
    document = {**json.loads((model / "tokenizer.json").read_bytes()), **changes}
    (model / "tokenizer.json").write_text(json.dumps(document))
    (tmp_path / "in.jsonl").write_bytes(conversations(20))
    command = [sys.executable, "-m", "isc.cli", "build", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    command += ["--model", str(model), "--family", "qwen3", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.count(told) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(preloaded.start_method() != "forkserver", reason="elsewhere a pool builds its workers at once")
def test_a_pool_that_built_nothing_leaves_no_thread_behind() -> None:
    """One that still tells the workers is cut off at the end of the process, which then speaks of leaked semaphores."""
    before = set(threading.enumerate())
    workers.Pool(2).close()
    assert set(threading.enumerate()) <= before


def test_a_mac_forks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert preloaded.start_method() == "spawn"


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        (["in.jsonl", "--model", "m", "--workers", "2"], "m"),
        (["in.jsonl", "--workers=4", "--model=a=b"], "a=b"),
        (["in.jsonl", "--model", "m"], None),
        (["in.jsonl", "--model", "m", "--workers", "1"], None),
        (["in.jsonl", "--family", "qwen3", "--workers", "2"], None),
        (["in.jsonl", "--model", "m", "--engine", "ray", "--workers", "2"], None),
        (["in.jsonl", "--workers", "2", "--model"], None),
    ],
)
def test_the_server_is_started_before_the_command_is_read(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], model: str | None
) -> None:
    """Where the arguments tell that there will be workers, and for which vocabulary."""
    monkeypatch.setattr(preloaded, "start_method", lambda: "forkserver")
    asked: list[partial[None]] = []
    monkeypatch.setattr(preloaded, "start_server", asked.append)
    start_workers_ahead(arguments)
    assert [call.args for call in asked] == ([] if model is None else [(model,)])


def test_a_build_begins_with_that_and_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[Sequence[str]] = []
    monkeypatch.setattr(cli, "start_workers_ahead", begun.append)
    for arguments in (["build", "--help"], ["families", "--help"], ["--help"], []):
        main(arguments)
    assert begun == [["build", "--help"]]
    assert "--workers" in capsys.readouterr().out


@pytest.mark.skipif(preloaded.start_method() != "forkserver", reason="nothing is started where nothing is forked")
def test_a_server_that_nobody_asks_anything_ends_with_its_process(tmp_path: Path, model: Path) -> None:
    """A guess: the options turn out to be wrong when the server runs already."""
    command = [sys.executable, "-m", "isc.cli", "build", "none.jsonl", "-o", str(tmp_path / "out.jsonl")]
    command += ["--model", str(model), "--workers", "2", "--lose", "assistant"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # until none has its pipes
    assert done.returncode == 2
    assert "--lose" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_parent_of_workers_builds_no_engine(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("an engine is built")

    (tmp_path / "in.jsonl").write_bytes(conversations(200))
    command = ["build", str(tmp_path / "in.jsonl"), "--model", str(model), "--family", "qwen3", "--loss", "assistant"]
    assert main([*command, "-o", str(tmp_path / "alone.jsonl")]) == 0
    encoders._from_file.cache_clear()
    for engine in ("FastokensEngine", "TokenizersEngine", "agreeing_fastokens"):
        monkeypatch.setattr(encoders, engine, refused)
    assert main([*command, "-o", str(tmp_path / "out.jsonl"), "--workers", "2"]) == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


def test_what_is_loaded_later_encodes_as_what_is_loaded_now(model: Path) -> None:
    later, now = (isc.load(model, "qwen3", engine=engine) for engine in ("later", None))
    assert later.encoder.specials == now.encoder.specials
    assert later.encoder.byte_lengths == now.encoder.byte_lengths
    talk = json.loads(conversations(1))
    assert later.render(talk) == now.render(talk)
    assert later.encoder.normalize("e\u0301") == now.encoder.normalize("e\u0301")


def test_a_vocabulary_that_no_worker_can_load_is_said(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the parent reads of it is well, so that only who builds an engine can know."""
    document = json.loads((model / "tokenizer.json").read_bytes())
    document["pre_tokenizer"] = {"type": "Nonsense"}
    (model / "tokenizer.json").write_text(json.dumps(document))
    (tmp_path / "in.jsonl").write_bytes(conversations(20))
    command = ["build", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), "--model", str(model)]
    assert main([*command, "--family", "qwen3", "--loss", "assistant", "--workers", "2"]) == 2
    told = capsys.readouterr().err
    assert "Nonsense" in told or "cannot be" in told
    assert "died" not in told
    assert "out.jsonl" not in files_in(tmp_path)


def test_a_slower_engine_in_the_workers_is_warned_of(tmp_path: Path, model: Path) -> None:
    """Once, however many load it."""
    document = json.loads((model / "tokenizer.json").read_bytes())
    document["normalizer"] = {"type": "NFKC"}  # which the fast engine does not know
    (model / "tokenizer.json").write_text(json.dumps(document))
    groups = list(batches(enumerate(conversations(20).splitlines(keepends=True)), 1, 4000))
    renderer = isc.load(model, "qwen3", engine="later")
    with pytest.warns(EncoderFallbackWarning, match="using `tokenizers` instead of fastokens") as warned:
        assert len(list(workers.built(groups, renderer, Settings(Loss(True)), workers=2))) == len(groups)
    assert len(warned) == 1


@pytest.mark.parametrize(
    ("asked", "size", "cores", "count"),
    [(None, 15, 8, 1), (None, 31, 8, 1), (None, 40, 8, 2), (None, 400, 8, 8), (3, 1, 8, 3), (1, 400, 8, 1)],
)
def test_another_process_is_worth_sixteen_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None, size: int, cores: int, count: int
) -> None:
    with (tmp_path / "in.jsonl").open("wb") as stream:
        stream.truncate(size << 20)
    monkeypatch.setattr(running, "_cores", lambda: cores)
    paths = BuildPaths((str(tmp_path / "in.jsonl"),), tmp_path / "out.jsonl", tmp_path / "rejects.jsonl")
    assert running.worker_count(paths, Manner(workers=asked)) == count
