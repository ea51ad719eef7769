"""What the tests of the command line share: inputs, and how a build is run and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from isc.build import sources
from isc.build.compression import compression_of, unpacked
from isc.build.samples import Built
from isc.cli import main

EXAMPLE = Path(__file__).parent.parent / "examples" / "conversations.jsonl"
CHAT = b'[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]\n'
UNTRAINED = b'[{"role": "user", "content": "hi"}]\n'
NOT_JSON = b'[{"role": "user"\n'


def write_many(place: Path) -> Path:
    """The examples many times over, two bad lines among them."""
    lines = EXAMPLE.read_bytes().splitlines(keepends=True) * 6
    lines[9] = NOT_JSON
    lines[50] = UNTRAINED
    place.write_bytes(b"".join(lines))
    return place


def run(source: Path | str, output: Path, *more: str, loss: str = "assistant") -> int:
    """`isc build`, in batches of a few lines, so that small inputs have many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BATCH_BYTES", 4000)
        return main(["build", str(source), "-o", str(output), "--family", "qwen3", "--loss", loss, *more])


def interrupting(after: int) -> Callable[..., AbstractContextManager[Iterator[Built]]]:
    """Results that end with Ctrl-C after so many batches."""

    def closing(results: Iterator[Built]) -> AbstractContextManager[Iterator[Built]]:
        def cut() -> Iterator[Built]:
            for number, result in enumerate(results):
                if number == after:
                    raise KeyboardInterrupt
                yield result

        return nullcontext(cut())

    return closing


def rows(place: Path) -> list[dict[str, object]]:
    """The lines of a JSON Lines file, which may be packed."""
    with place.open("rb") as stream:
        return [json.loads(line) for line in unpacked(stream, compression_of(place))]


def files_in(place: Path) -> set[str]:
    """The files in a directory, but for the inputs and what is said of the samples."""
    return {path.name for path in place.iterdir() if not path.name.endswith(".meta.json")} - {"many.jsonl", "in.jsonl"}


def written(place: Path, *messages: dict[str, object]) -> Path:
    """A file that holds a conversation."""
    place.write_text(json.dumps({"messages": messages}))
    return place
