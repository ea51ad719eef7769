"""What samples were made of and how: written into a Parquet file's footer, or beside JSON Lines as `.meta.json`.

Files of samples that are read together were made alike, or a trainer reads two formats as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from isc.build.compression import split_name
from isc.build.samples import Settings, Tally
from isc.errors import OptionError

FOOTER: Final = "isc"
"""The key of a Parquet file's metadata."""

_NUMBER: Final = re.compile(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])")


class Metadata(Struct, frozen=True):
    """What some samples were made of and how.

    Attributes:
        isc: The version of isc.
        model: The model whose vocabulary is used, by the name it was given.
        family: The chat format with its options.
        family_digest: What tells it from any other: the options as JSON, or the digest of a traced template.
        template_digest: SHA-256 of the model's own chat template.
        vocabulary_digest: SHA-256 of the model's vocabulary.
        loss: What is trained on.
        columns: The columns of a row.
        date: The day that the format tells.
        options: The other options of the build that rows depend on.
        counts: What became of the input, in all files of the build.
    """

    isc: str
    model: str
    family: str
    family_digest: str
    template_digest: str
    vocabulary_digest: str
    loss: str
    columns: tuple[str, ...]
    date: str
    options: dict[str, str]
    counts: Tally


_OPTIONS: Final = ("turns", "ensure_final_stop", "max_tokens", "too_long", "pack", "drop_null", "split")
_COUNTED: Final = ("counts", "model")
"""What files of one data set may differ in: their counts, and where the same vocabulary lies."""


def metadata_of(settings: Settings, columns: Iterable[str], tally: Tally) -> Metadata:
    """Return the metadata of a build's samples."""
    return Metadata(
        settings.version,
        settings.vocabulary,
        settings.described,
        settings.family,
        settings.template_digest,
        settings.vocabulary_digest,
        str(settings.loss),
        tuple(columns),
        settings.date,
        {name: str(getattr(settings, name)) for name in _OPTIONS},
        tally,
    )


def meta_path(samples: Path) -> Path:
    """Return the path of the metadata of a JSON Lines file.

    >>> meta_path(Path("runs/samples.jsonl.gz")).name
    'samples.meta.json'
    """
    return samples.with_name(split_name(samples)[0] + ".meta.json")


def read_metadata(samples: Path) -> Metadata | None:
    """Return the metadata of a file of samples; None where it has none that can be read."""
    try:
        if samples.suffix == ".parquet":
            from pyarrow import parquet

            footer = parquet.read_metadata(str(samples)).metadata or {}
            return msgspec.json.decode(footer[FOOTER.encode()], type=Metadata)
        return msgspec.json.decode(meta_path(samples).read_bytes(), type=Metadata)
    except (OSError, KeyError, ValueError, ImportError):  # another program's file, or one that is not whole
        return None


def check_alike(name: str, there: Metadata, here: Metadata) -> None:
    """Raise unless two files of samples may be read as one data set.

    Args:
        name: The name of the file that is there, for the error.
        there: Its metadata.
        here: That of the file to be written beside it.

    Raises:
        OptionError: They differ; names the field and both values.
    """
    for field in (field for field in Metadata.__struct_fields__ if field not in _COUNTED):
        before, now = getattr(there, field), getattr(here, field)
        if field == "options":
            field = next((option for option in now if before.get(option) != now[option]), field)  # noqa: PLW2901
            before, now = (options.get(field) for options in (before, now)) if field != "options" else ("", "")
        if before != now:
            raise OptionError(
                f"{name} is of the same set by its name and has {field} = {before}, not {now}: samples that differ are "
                "not mixed; give the same options, another name or another directory"
            )


def siblings(samples: Path) -> list[Path]:
    """Return the files beside a file of samples whose names differ from its own in numbers alone, such as shards.

    A number stands between other characters than letters: `part-1` and `part-2` are of one set, `qwen2` and `qwen3`
    are not.
    """
    shape = _NUMBER.sub("#", samples.name)
    if shape == samples.name or not samples.parent.is_dir():
        return []
    return sorted(path for path in samples.parent.iterdir() if _NUMBER.sub("#", path.name) == shape and path != samples)
