"""Vocabularies of which the fast engine is known to agree with `tokenizers`, kept on disk between processes.

One line a vocabulary in `$XDG_CACHE_HOME/isc/engines` (`~/.cache` by default): a digest of the vocabulary and of the
versions compared. Only agreement is kept. A process that cannot read or write the file compares the engines itself;
with `ISC_NO_CACHE=1` every process does.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

_PACKAGES = ("isc", "fastokens", "tokenizers")
_KEPT_BYTES = 64 * 1024


def digest_of(document: bytes) -> str:
    """Return what names a vocabulary, in 64 characters: it changes with the document and with the engines."""
    from importlib.metadata import version  # brings the package `email`, and `import isc` is to stay light

    versions = " ".join(f"{package}={version(package)}" for package in _PACKAGES)
    return hashlib.sha256(versions.encode() + b"\0" + document).hexdigest()


def is_known(digest: str) -> bool:
    """Return whether the engines agreed on this vocabulary before."""
    place = _place()
    if place is None:
        return False
    try:
        return digest.encode() in place.read_bytes().splitlines()
    except OSError:
        return False


def remember(digest: str) -> None:
    """Note that the engines agree on a vocabulary.

    The line is appended in one write, so processes do not mix theirs.
    """
    place = _place()
    if place is None:
        return
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and place.stat().st_size > _KEPT_BYTES:
            place.unlink()
        with place.open("ab", buffering=0) as stream:
            stream.write(digest.encode() + b"\n")


def _place() -> Path | None:
    """Return where the file lies; None where it is not to be used."""
    if os.environ.get("ISC_NO_CACHE", "") not in ("", "0"):
        return None
    configured = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        return None
    return root / "isc" / "engines"
