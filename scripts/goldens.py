"""Write the goldens: what the reference templates render for the table of conversations; `--check` only compares.

    python scripts/goldens.py --check   # exit 1 where a golden differs from the reference
    python scripts/goldens.py           # write them anew: read the diff before you commit it
    python scripts/goldens.py --find-refusals gemma-3   # which conversations the template or the family refuses

A golden file holds, per family value, the template's sha256, and per conversation the text and a digest of its ids.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

import isc
from isc.encoding.encoders import embedded

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from cases import CASES, Case  # noqa: E402 - found through the path set above
from golden_conversations import CONVERSATIONS  # noqa: E402
from references import TemplateReference  # noqa: E402

GOLDENS = ROOT / "tests" / "data" / "goldens"


def ids_digest(token_ids: object) -> str:
    """A digest of ids, order and all."""
    return hashlib.sha256(json.dumps(token_ids).encode()).hexdigest()[:16]


def rows(case: Case, reference: TemplateReference) -> Iterator[dict[str, Any]]:
    """What the template renders for every conversation, with and without a generation prompt."""
    for name in CONVERSATIONS:
        conversation = case.golden(name)
        if name in case.refuses or not case.takes(conversation):
            continue
        for add_generation_prompt in (False, True):
            text = reference.text(conversation, add_generation_prompt=add_generation_prompt)
            ids = ids_digest(list(reference.encode(text)[0]))
            yield {"conversation": name, "generation_prompt": add_generation_prompt, "text": text, "ids": ids}


def golden(case: Case, root: Path) -> str:
    """A case's golden file."""
    reference = case.reference(root)
    content = {
        "template": case.template,
        "sha256": reference.digest,
        "options": dict(case.options),
        "rows": list(rows(case, reference)),
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def refusals(case: Case, reference: TemplateReference) -> Iterator[str]:
    """The conversations of the table that the template or the family refuses, each with what they say.

    A family must refuse what its template refuses; `refuses` of the case holds the path of its error.
    """
    renderer = case.renderer(embedded(case.family.specials))
    for name in CONVERSATIONS:
        conversation = case.golden(name)
        if not case.takes(conversation):
            yield f"{name}: not of the family's shape"
            continue
        theirs = ours = ""
        try:
            reference.text(conversation, add_generation_prompt=False)
        except (TemplateError, TypeError) as error:
            theirs = f"the template: {type(error).__name__}: {error}"
        try:
            renderer.render(*conversation)
        except isc.ConversationError as error:
            ours = f'the family: "{name}": "{error.path}"'
        if theirs or ours:
            yield f"{name}: {ours or 'THE FAMILY RENDERS IT'}; {theirs or 'the template renders it'}"


def print_refusals(root: Path, names: Sequence[str]) -> None:
    """Print what cases of these names, or all, refuse."""
    for case in CASES:
        if case.name in names or not names:
            print(case.name, *refusals(case, case.reference(root)), sep="\n  ")


def main() -> int:
    """Write or check all goldens; the exit code is 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument(
        "--find-refusals", nargs="*", metavar="CASE", help="list what is refused, of all cases or these"
    )
    arguments = parser.parse_args()
    root = Path(os.environ.get("ISC_REFERENCE") or ROOT.parent / "shared" / "reference")
    if not root.is_dir():
        print(f"no reference data at {root}; set ISC_REFERENCE to its directory", file=sys.stderr)
        return 2
    if arguments.find_refusals is not None:
        print_refusals(root, arguments.find_refusals)
        return 0
    different = []
    for case in CASES:
        path = GOLDENS / f"{case.name}.json"
        text = golden(case, root)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            different.append(case.name)
            if not arguments.check:
                path.write_text(text, encoding="utf-8")
    verb = "differ" if arguments.check else "written"
    print(f"{len(CASES)} goldens, {len(different)} {verb}{': ' if different else ''}{', '.join(different)}")
    return 1 if different and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
