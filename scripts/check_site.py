"""Check the site that `make docs` has built: `python scripts/check_site.py [site]` prints what is wrong with it.

Every link leads to a page and a heading that are there; nothing is loaded from another host; every public name has a
heading of its own. The builder's own checks look at Markdown, these look at what a reader gets.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reference_doc import modules, public_names

ROOT = Path(__file__).resolve().parent.parent
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
"""What a browser fetches by itself."""


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag's attributes."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if (tag, name) == ("a", "href") and value is not None:
                self.links.append(value)
            if (tag, name) in LOADED and value:
                self.loaded.append(value)


def broken(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Tell the links that lead nowhere."""
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = _target(site, path, unquote(parts.path))
            if not target.is_file():
                yield f"{path.relative_to(site)}: {link}: there is no such page"
            elif parts.fragment and target in pages and not _has(pages[target], unquote(parts.fragment)):
                yield f"{path.relative_to(site)}: {link}: there is no such heading"


def _target(site: Path, path: Path, link: str) -> Path:
    target = path if not link else site / link.lstrip("/") if link.startswith("/") else (path.parent / link).resolve()
    return target / "index.html" if target.is_dir() else target


def _has(page: Page, anchor: str) -> bool:
    return anchor in page.anchors or anchor.startswith("__")  # what the theme's script puts there


def foreign(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Tell what is loaded from another host."""
    for path, page in pages.items():
        yield from (f"{path.relative_to(site)} loads {one}" for one in page.loaded if urlsplit(one).netloc)
    for path in site.rglob("*.css"):
        for address in re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", path.read_text("utf-8")):
            yield f"{path.relative_to(site)} loads {address}"


def missing(pages: dict[Path, Page]) -> Iterator[str]:
    """Tell the public names without a heading."""
    anchors = set().union(*(page.anchors for page in pages.values()))
    for name, module in modules().items():
        yield from (f"{name}.{one} is in no page" for one in public_names(module) if f"{name}.{one}" not in anchors)


def main() -> int:
    """Check the site; the exit code is 1 where something is wrong."""
    site = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site").resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    problems = [*broken(site, pages), *foreign(site, pages), *missing(pages)]
    print("\n".join([*problems, f"{len(pages)} pages, {len(problems)} problems"]))
    return int(bool(problems) or len(pages) < 30)


if __name__ == "__main__":
    sys.exit(main())
