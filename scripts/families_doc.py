"""Write docs/families.md from the families themselves, so that it says what they do; `--check` only compares.

    python scripts/families_doc.py --check   # exit 1 where the page is stale
    python scripts/families_doc.py           # write it anew

Wording comes from the families' docstrings, all else from their values. Names of families in `isc/__init__.py`
are written too: at run time they are found, a type checker has to read them.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from isc import convert
from isc.conversation.renderer import stream
from isc.errors import ConversationError, OptionError
from isc.formats.base import Family
from isc.formats.catalogue import list_families, models
from isc.types import Chat, Segment

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "families.md"
NAMES = ROOT / "src" / "isc" / "__init__.py"
HEAD = """\
<!-- written by scripts/families_doc.py: change a family's module, then run the script -->
# Families

One chat format is one family; its value is its configuration, e.g. `isc.Qwen3(enable_thinking=False)`. For each: the
revision it follows and where it deviates from the model's template, its options, and one small conversation as it is
rendered. There, **scaffold** is what the format adds, **body** what a message says, and **sampled** the body of
assistant turns: what the model itself would write, so what the generation prompt prefills is not in it. Line breaks
are shown as `\\n`; long wording is cut short. A conversation whose history is kept stays a prefix of every longer one;
where it is not, later messages change how earlier ones are rendered.
"""
SHOWN_CHARACTERS = 110
NOW = {"type": "function", "function": {"name": "now", "parameters": {"properties": {"zone": {"type": "string"}}}}}
CALL = {"id": "callnow01", "type": "function", "function": {"name": "now", "arguments": {"zone": "UTC"}}}
SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = {"role": "user", "content": "What time is it?"}
THOUGHT = {"role": "assistant", "content": "I will look.", "reasoning_content": "A clock helps.", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "12:00", "tool_call_id": "callnow01", "name": "now"}
ANSWER = {"role": "assistant", "content": "Noon."}
CONVERSATIONS: tuple[tuple[list[Mapping[str, Any]], list[Mapping[str, Any]] | None], ...] = (
    ([SYSTEM, ASKED, THOUGHT, RESULT], [NOW]),
    ([ASKED, THOUGHT, RESULT], [NOW]),
    ([SYSTEM, ASKED, ANSWER, ASKED], None),
    ([ASKED, ANSWER, ASKED], None),
)
"""The richest first: a family shows the first that it can render."""


def main() -> int:
    """Write or check the page; the exit code is 1 where it is stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    page = HEAD + "".join(section(name, kind) for name, kind in sorted(list_families().items()))
    names = with_family_names(NAMES.read_text(encoding="utf-8"), list_families().values())
    check = parser.parse_args().check
    stale = False
    for path, text in ((PAGE, page), (NAMES, names)):
        same = path.exists() and path.read_text(encoding="utf-8") == text
        stale = stale or not same
        if check:
            print(f"{path.name} is {'up to date' if same else 'stale: run python scripts/families_doc.py'}")
        else:
            path.write_text(text, encoding="utf-8")
    return int(check and stale)


def with_family_names(source: str, families: Iterable[type[Family]]) -> str:
    """The text of `isc/__init__.py` with these families imported for type checkers and in `__all__`."""
    imports = sorted(f"    from {kind.__module__} import {kind.__name__}\n" for kind in families)
    before, listed, after = re.split(r"((?:    from isc\.formats\.\w+ import \w+\n)+)", source, maxsplit=1)
    known = set(re.findall(r"import (\w+)", listed))
    head, names, tail = re.split(r"(?s)(?<=\n__all__ = \[\n)(.*?)(?=\]\n)", after, maxsplit=1)
    others = set(re.findall(r'"(\w+)"', names)) - known
    every = sorted(others | {kind.__name__ for kind in families}, key=_natural)
    return before + "".join(imports) + head + "".join(f'    "{name}",\n' for name in every) + tail


def _natural(name: str) -> tuple[bool, list[tuple[int, str]]]:
    """Classes first, digits as numbers: the order that ruff asks for."""
    parts = re.findall(r"\d+|\D+", name)
    return name[0].islower(), [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def described(text: str) -> list[str]:
    r"""Return what a family says of itself: prose, then its deviations from the template, one bullet each.

    >>> described("Follows A. Deviations: b is c; d is e, e.g. f. A bridge is g.")
    ['Follows A.\n', 'Deviations:\n', '- B is c.', '- D is e, e.g. f.', '- A bridge is g.\n']
    """
    prose, _, deviations = text.partition("Deviations: ")
    lines = [f"{prose.strip()}\n"] if prose.strip() else []
    if deviations:
        items = re.split(r"(?:;|(?<!e\.g)\.)\s+", deviations.strip().removesuffix("."))
        lines += [
            "Deviations:\n",
            *(f"- {item if item.startswith('isc ') else item[0].upper() + item[1:]}." for item in items),
        ]
        lines[-1] += "\n"
    return lines


def section(name: str, kind: type[Family]) -> str:
    """All about one family."""
    summary, _, rest = (inspect.getdoc(sys.modules[kind.__module__]) or "").partition("\n\n")
    return "\n".join(
        (
            f"\n## {name}\n",
            f"`isc.{kind.__name__}`: {flowing(summary.partition(':')[2] or summary)}\n",
            *described(flowing(rest)),
            *table(("", ""), rows(kind)),
            "",
            *table(("Option", "Default", ""), options(kind)),
            *(["\n```text", *rendered(kind()), "```\n"]),
        )
    )


def rows(kind: type[Family]) -> Iterator[tuple[str, ...]]:
    """What a family is, fact by fact."""
    family = kind()
    yield "Generation prompt", by_option(kind, lambda value: code(prompt_text(value)))
    yield "Turn close (sampled)", code(family.turn_close) if family.turn_close else "the marker of the next role"
    yield "Sampling stops at", ", ".join(map(code, family.stop_tokens))
    yield "Reasoning", by_option(kind, reasoning_markers)
    yield "Keeps history", by_option(kind, lambda value: "yes" if value.keeps_history else "no")
    known = [(value, model) for model, value in models().items() if isinstance(value, kind)]
    for value, group in groupby(sorted(known, key=repr_of), key=lambda item: item[0]):
        yield f"Models: {code(repr_of((value,)))}", ", ".join(model for _, model in group)


def repr_of(item: Sequence[Any]) -> str:
    """A family value with the options that are not the default."""
    value = item[0]
    given = [
        f"{field.name}={getattr(value, field.name)!r}"
        for field in msgspec.structs.fields(value)
        if getattr(value, field.name) != field.default
    ]
    return f"{type(value).__name__}({', '.join(given)})"


def by_option(kind: type[Family], fact: Callable[[Family], str]) -> str:
    """A fact of the default value, and of every option that changes it."""
    facts = {label: fact(value) for label, value in variations(kind)}
    changed = (f"{code(label)}: {text}" for label, text in facts.items() if text != facts[""])
    return "<br>".join((facts[""], *changed))


def reasoning_markers(family: Family) -> str:
    """What brackets reasoning."""
    markers = family.reasoning
    if family.turn_start is not None:
        return "in messages of its own"
    return f"{code(markers.opener)} … {code(markers.closer)}" if markers else "none"


def variations(kind: type[Family]) -> Iterator[tuple[str, Family]]:
    """The default value, then one for every other choice of every option, labelled by that choice."""
    yield "", kind()
    for field in msgspec.structs.fields(kind):
        for choice in choices(field.type):
            try:
                value = kind(**{field.name: choice})
            except OptionError:
                continue
            if choice != field.default:
                yield f"{field.name}={choice!r}", value


def choices(annotation: object) -> tuple[object, ...]:
    """The values an option can take, if they can be counted."""
    found = msgspec.inspect.type_info(annotation)
    if isinstance(found, msgspec.inspect.BoolType):
        return (False, True)
    return tuple(found.values) if isinstance(found, msgspec.inspect.LiteralType) else ()


def options(kind: type[Family]) -> Iterator[tuple[str, ...]]:
    """Every option with its default and what its docstring says of it."""
    text = (inspect.getdoc(kind) or "").partition("Args:\n")[2].partition("\n\n")[0]
    said = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE))
    for field in msgspec.structs.fields(kind):
        yield code(field.name), code(repr(field.default)), flowing(said.get(field.name, "")).replace("|", "\\|")


def prompt_text(family: Family) -> str:
    """The generation prompt after a user message."""
    return "".join(segment.text for segment in family.generation_prompt(convert.chat([ASKED])))


def rendered(family: Family) -> Iterator[str]:
    """The richest conversation that a family takes, a line for every run of one attribution."""
    for messages, tools in CONVERSATIONS:
        chat = convert.chat(messages, tools)
        try:
            segments = list(stream(family, chat, add_generation_prompt=True))
        except ConversationError:
            continue
        yield from lines(chat, segments)
        return


def lines(chat: Chat, segments: Sequence[Segment]) -> Iterator[str]:
    """Owner, part and text of every run."""
    owners = ["opening", *(f"{k} {chat.role(k)}" for k in range(len(chat.messages))), "prompt"]
    last = max(position for position, segment in enumerate(segments) if segment.message >= 0)
    for (owner, is_body), group in groupby(enumerate(segments), key=lambda item: (item[1].message, item[1].body)):
        run = list(group)
        after_all = owner < 0 and run[0][0] > last
        part = ("sampled" if chat.role(owner) == "assistant" else "body") if is_body else "scaffold"
        text = "".join(segment.text for _, segment in run)
        shown = one_line(shortened(text) if part == "scaffold" else text)
        yield f"{owners[-1] if after_all else owners[owner + 1]:<12} {part:<9} {shown}"


def shortened(text: str) -> str:
    """A text, its middle left out if it is long."""
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}" if len(text) > SHOWN_CHARACTERS else text


def one_line(text: str) -> str:
    """A text with its line breaks spelled."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def table(head: tuple[str, ...], body: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """A Markdown table; nothing where it has no rows."""
    found = list(body)
    if found:
        yield from (f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *found))


def code(text: str) -> str:
    """A text as code in a table cell."""
    escaped = one_line(text).replace("|", "\\|")
    return f"`{escaped}`"


def flowing(text: str) -> str:
    """A paragraph on one line."""
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
