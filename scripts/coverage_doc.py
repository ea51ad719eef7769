"""Write docs/coverage.md and its copy for `isc families --models`: for each model, what is proven and on what.

    python scripts/coverage_doc.py --check   # exit 1 where they are stale
    python scripts/coverage_doc.py           # write them anew

What is proven is read off the tests: a family value with a case in `tests/formats/*_cases.py` is held to the template
and the tokenizer that the case names. A value without one is served by name alone, and the page says so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from cases import CASES, Case  # noqa: E402 - found through the path set above
from isc.cli.coverage import COLUMNS, Coverage, rows_of  # noqa: E402
from isc.formats.base import Family  # noqa: E402
from isc.formats.catalogue import family_name, models  # noqa: E402
from isc.formats.segments import IMAGE_TOKENS  # noqa: E402

PAGE = ROOT / "docs" / "coverage.md"
DATA = ROOT / "src" / "isc" / "data" / "coverage.json"
HEAD = """\
<!-- written by scripts/coverage_doc.py: change a family's cases, then run the script -->
# Coverage

What you can trust for a model, and what that rests on. `isc families --models` prints the same table. A model that is
not here is rendered by its own chat template: [any-model.md](any-model.md) says how far that was measured, and
`isc check MODEL FILE` measures it on yours.

| Word | Means |
| --- | --- |
| template | byte for byte what the template renders, on golden and on random conversations: the model's own, or \
that of a model with the same format ([families.md](families.md) says which templates were at hand) |
| examples | it ships no template: its own description's worked examples, and a second encoder of it |
| by name | no template of this very model was at hand: it is taken for the same format as the others of its family |
| own ids | the ids of the model's own tokenizer |
| stand-in ids | no tokenizer of the model was at hand: ids are proven on a vocabulary that has its specials |
| laws, traced | every law of [laws.md](laws.md) on random conversations, and the traced template's owners |
| laws | every law, with no template to trace |
| always | the format keeps history: a bridge equals a fresh render whatever follows |
| tool cycle | earlier reasoning is dropped: a bridge equals a fresh render until the next user query |
| inverse | what is rendered is read back the same, over random turns; any ids are read without an error |
| by size | an image has as many placeholders as transformers makes of its size: [images.md](images.md) |
| one each | an image has one placeholder, as the processor that the model ships writes it |
| none | the format has none |

`docs/parses.md` lists how recorded completions are read.

Asked for, and not here, since no template or description of them was at hand:

| Model | What isc does |
| --- | --- |
| Qwen3-Coder-Next | renders it by its own template, traced; `isc.Qwen3Coder()` reads both of its recorded completions |
| Magistral-Small-2509, Ministral-3-14B-Instruct-2512 | renders them by their own templates, traced; \
`isc.Mistral(variant="v13")` reads all 22 of their completions, which proves nothing of prompts |
| DeepSeek-V4.1 | refuses it by name and kind: no template ships, and `isc.DeepSeekV4()` reads 2 of its 21 completions |
"""


def coverage() -> list[Coverage]:
    """Every known model, with what is proven of the family value that serves it."""
    proven = {case.family: case for case in CASES}
    return [_coverage(model, family, _case_of(family, proven)) for model, family in sorted(models().items())]


def _case_of(family: Family, proven: Mapping[Family, Case]) -> Case | None:
    """The case of a value, or of the same value on the day that the case's clock tells."""
    days = {case.now for case in proven.values() if case.now}
    return next((proven[one] for one in (family, *map(family.dated, sorted(days))) if one in proven), None)


def _coverage(model: str, family: Family, case: Case | None) -> Coverage:
    twin = case is not None and case.twin is not None
    kept = "always" if family.keeps_history else "tool cycle"
    bridge = kept if case is None or case.bridges else "none"
    return Coverage(
        model,
        family_name(family),
        "by name" if case is None else "examples" if twin else "template",
        "by name" if case is None else "own ids" if case.tokenizer else "stand-in ids",
        "by name" if case is None else "laws" if twin else "laws, traced",
        "by name" if case is None else "laws" if twin else "laws, traced",
        bridge,
        "inverse" if family.shape.tools else "none",
        "inverse" if family.has_reasoning else "none",
        _images(family),
    )


def _images(family: Family) -> str:
    """How many placeholders an image takes."""
    if IMAGE_TOKENS.isdisjoint(family.specials):
        return "none"
    return "by size" if family.placeholders_per_image is None else "one each"


def page(rows: Sequence[Coverage]) -> str:
    """The page: the words, then the table."""
    return "\n".join([HEAD, *_table(rows), ""])


def _table(rows: Sequence[Coverage]) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield "| " + " | ".join("---" for _ in COLUMNS) + " |"
    for row in rows_of(rows):
        yield f"| {' | '.join(row)} |"


def main() -> int:
    """Write or check; the exit code is 1 where one of them is stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    rows = coverage()
    stale = False
    for path, text in ((PAGE, page(rows)), (DATA, msgspec.json.format(msgspec.json.encode(rows)).decode() + "\n")):
        same = path.exists() and path.read_text(encoding="utf-8") == text
        stale = stale or not same
        if check:
            print(f"{path.name} is {'up to date' if same else 'stale: run python scripts/coverage_doc.py'}")
        else:
            path.write_text(text, encoding="utf-8")
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
