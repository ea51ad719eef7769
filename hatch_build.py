"""What the package says of itself on an index, made as it is built: its long description, and where its repository is.

README.md speaks to somebody in a checkout, where nothing of it has to be on an index. On an index the same page speaks
to somebody who installs from there. Its links lead to the repository that publishes; where none is known, as in a build
on somebody's own machine, they are plain words.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

CHECKOUT = re.compile(r'^\$ pip install "\.\[(\S+)\]"[^\n]*$', re.MULTILINE)
ONLY_IN_A_CHECKOUT = re.compile(r"^\$ make [^\n]*\n|^<!-- checkout -->[\s\S]*?<!-- /checkout -->\n", re.MULTILINE)
PICTURE = re.compile(r"^\[!\[[^\n]*\n\n", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)]+)\)")


class Described(MetadataHookInterface):
    """Give the fields that pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, object]) -> None:
        """Set `readme` and, where the repository is known, `urls`."""
        address = repository()
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": described(text, address)}
        metadata["urls"] = urls(address) if address else {}


def repository() -> str | None:
    """Return the address of the repository whose workflow builds; None where no workflow does."""
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    return f"{server}/{name}" if server and name else None


def urls(address: str) -> dict[str, str]:
    """Return the links of an index's page."""
    return {
        "Repository": address,
        "Changelog": f"{address}/blob/HEAD/CHANGELOG.md",
        "Documentation": f"{address}/blob/HEAD/docs/index.md",
        "Issues": f"{address}/issues",
    }


def described(readme: str, address: str | None) -> str:
    """Return the README as an index shows it."""
    text = PICTURE.sub("", ONLY_IN_A_CHECKOUT.sub("", CHECKOUT.sub(r'$ pip install "isc[\1]"', readme)))
    return LINK.sub(rf"[\1]({address}/blob/HEAD/\2)" if address else r"\1", text)
