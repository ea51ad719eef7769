"""What `tokenizers` makes of the probe, by vocabulary, kept on disk between processes.

An engine that makes the same of it needs no second comparison, and no engine to compare with. One line a vocabulary in
`engines` of `$ISC_CACHE` (`$XDG_CACHE_HOME/isc` or `~/.cache/isc` by default): a digest of the vocabulary and of the
versions compared, and one of the ids. So a line that is wrong is a comparison that fails, never a wrong id. A file that
others can write is not read. A process that cannot read or write it compares the engines itself; with `ISC_NO_CACHE=1`
every process does.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path

_PACKAGES = ("isc", "fastokens", "tokenizers")
_KEPT_BYTES = 64 * 1024
_WRITABLE_BY_OTHERS = 0o022


def digest_of(document: bytes) -> str:
    """Return what names a vocabulary, in 64 characters: it changes with the document and with the engines."""
    from importlib.metadata import version  # brings the package `email`, and `import isc` is to stay light

    versions = " ".join(f"{package}={version(package)}" for package in _PACKAGES)
    return hashlib.sha256(versions.encode() + b"\0" + document).hexdigest()


def recorded(digest: str) -> str | None:
    """Return the digest of the ids that `tokenizers` gave for this vocabulary; None where it is not known."""
    place = _place()
    if place is None:
        return None
    try:
        content = _read(place)
    except OSError:
        return None
    pairs = (line.split() for line in content.splitlines())
    named = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    return named.get(digest.encode(), b"").decode("ascii", "replace") or None


def remember(digest: str, ids: str) -> None:
    """Note a digest of the ids for a vocabulary.

    The line is appended in one write, so processes do not mix theirs.
    """
    place = _place()
    if place is None:
        return
    with suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if place.exists() and place.stat().st_size > _KEPT_BYTES:
            place.unlink()
        with _opened(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as stream:
            stream.write(f"{digest} {ids}\n".encode())


def _read(place: Path) -> bytes:
    """Return the content of a file that only this user can write; nothing for any other.

    Raises:
        OSError: It cannot be opened.
    """
    with _opened(place, os.O_RDONLY) as stream:
        status = os.fstat(stream.fileno())
        owner = os.getuid() if hasattr(os, "getuid") else status.st_uid
        if not stat.S_ISREG(status.st_mode) or status.st_uid != owner or status.st_mode & _WRITABLE_BY_OTHERS:
            return b""
        return stream.read(2 * _KEPT_BYTES)


def _opened(place: Path, flags: int) -> FileIO:
    """Open a file, no link to one, without waiting for whoever is at the other end of a pipe."""
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return FileIO(os.open(place, flags | careful, 0o600), "ab" if flags & os.O_WRONLY else "rb")


def _place() -> Path | None:
    """Return where the file lies; None where it is not to be used."""
    if os.environ.get("ISC_NO_CACHE", "") not in ("", "0"):
        return None
    chosen, configured = os.environ.get("ISC_CACHE", ""), os.environ.get("XDG_CACHE_HOME", "")
    if chosen:
        return Path(chosen) / "engines"
    try:
        root = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        return None
    return root / "isc" / "engines"
