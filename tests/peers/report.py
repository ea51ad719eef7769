"""Counts every difference from `renderers` and writes the tables of `docs/compat.md`: `make compat`."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from peers.differences import of_bridge, of_parse, of_render
from peers.reasons import BRIDGED, PARSED, RENDERED, Reason
from peers.sides import SHARED, conversations, sides, turns

COUNT = 200
PAGE = Path(__file__).resolve().parents[2] / "docs" / "compat.md"
_BLOCK = re.compile(r"(<!-- measured: start -->\n).*(<!-- measured: end -->)", re.DOTALL)
KINDS: Mapping[str, Mapping[str, Reason]] = {"Renders": RENDERED, "Bridges": BRIDGED, "Parsed turns": PARSED}


def counted(reference: Path) -> dict[str, dict[str, Counter[str]]]:
    """For each kind and case how often each difference occurs, `equal` where there is none, `all` in all."""
    found: dict[str, dict[str, Counter[str]]] = {kind: defaultdict(Counter) for kind in KINDS}
    for case in SHARED:
        both = sides(case, reference)
        for _, conversation in conversations(case, COUNT):
            for prompt in (False, True):
                names = of_render(both, conversation, add_generation_prompt=prompt)
                found["Renders"][case.name].update([*names, "all"] if names else ["equal", "all"])
        for _, turn in turns(both, COUNT):
            for kind, compare in (("Bridges", of_bridge), ("Parsed turns", of_parse)):
                names = compare(both, turn)
                found[kind][case.name].update([*names, "all"] if names else ["equal", "all"])
    return found


def table(kind: str, cases: Mapping[str, Counter[str]]) -> Iterator[str]:
    """The lines of one kind's table: totals, then every difference with its count, its cases and its reason."""
    total = sum(cases.values(), Counter[str]())
    yield f"### {kind}: {total['all']:,} compared, {total['equal']:,} equal in everything"
    yield ""
    yield "| difference | in | what | why |"
    yield "|---|---|---|---|"
    for name, reason in KINDS[kind].items():
        families = sorted({case for case, names in cases.items() if names[name]})
        where = f"{total[name]:,} of {len(families)} cases"
        cells = (name, where, reason.what, reason.why)
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
    yield ""


def main() -> None:
    """Count, and write."""
    reference = Path(os.environ.get("ISC_REFERENCE") or PAGE.parents[2] / "shared" / "reference")
    found = counted(reference)
    lines = [f"Cases: {', '.join(case.name for case in SHARED)}.", ""]
    lines += [line for kind in KINDS for line in table(kind, found[kind])]
    text = PAGE.read_text(encoding="utf-8")
    block = "\n".join(lines).replace("\\", r"\\")
    PAGE.write_text(_BLOCK.sub(rf"\1{block}\2", text), encoding="utf-8")


if __name__ == "__main__":
    main()
