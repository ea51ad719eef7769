"""Calls as Python writes them: `[get_weather(city="Paris", days=3), now()]`, between markers or bare."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from isc._json import decode_json
from isc.formats.reading.coded import Coded, marker_pattern
from isc.formats.reading.grammars import Attempt, Begins, last_mark, text_begins
from isc.formats.reading.scanners import CallReading
from isc.types import Json, ToolSpec

_CALL: Final = re.compile(r"\s*\[?\s*[A-Za-z_][\w.\-]*\(")
_MAY_BE_CALL: Final = re.compile(r"\s*\[?\s*(?:[A-Za-z_][\w.\-]*)?")
_WORDS: Final = {"true": True, "false": False, "null": None}
_LONGEST: Final = 1_000_000
_DEEPEST: Final = 60


class PythonicCalls(Struct, frozen=True, cache_hash=True):
    """Calls between two markers, both "" where there are none."""

    opener: str
    closer: str
    marks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the name of the grammar."""
        return "pythonic"

    @property
    def enders(self) -> tuple[str, ...]:
        """Return the special that the opener begins with."""
        return tuple(mark for mark in self.marks if self.opener.startswith(mark))

    @property
    def begins(self) -> Begins:
        """Return what the opener begins with, or what a turn without one does that is all calls."""
        if not self.opener:
            return Begins(front=_CALL, may_be_front=_MAY_BE_CALL)
        return Begins(text_begins(self.opener, self.marks), closers=last_mark(self.closer, self.marks))

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls after the reasoning, in order."""
        del tools  # literals have types of their own
        if not self.opener:
            begins = _CALL.match(turn.text)
            readings = list(_readings(turn.spelled(0, len(turn.text)).strip())) if begins else []
            good = bool(readings) and all(status == "ok" for status, _, _ in readings)
            return _attempts(0, len(turn.text), (0, len(turn.text)), readings, closed=True) if good else []
        opener, edge = _patterns(self)
        attempts: list[Attempt] = []
        position = 0
        while begins := opener.search(turn.text, position):
            until = edge.search(turn.text, begins.end())
            closed = until is not None and until.lastgroup == "close"
            stop = until.start() if until else len(turn.text)
            position = until.end() if until and closed else stop
            raw = turn.spelled(begins.end(), stop).strip()
            attempts += _attempts(begins.start(), position, (begins.end(), stop), list(_readings(raw)), closed=closed)
        return attempts


@lru_cache(maxsize=256)
def _patterns(grammar: PythonicCalls) -> tuple[re.Pattern[str], re.Pattern[str]]:
    opener, closer = (marker_pattern(text, grammar.marks) for text in (grammar.opener, grammar.closer))
    edges = [f"(?P<{name}>{pattern})" for name, pattern in (("close", closer), ("open", opener)) if pattern]
    return re.compile(opener), re.compile("|".join(edges) if closer else rf"(?P<open>{opener})|(?P<close>\Z)")


def _attempts(
    start: int, end: int, inside: tuple[int, int], readings: Sequence[CallReading], *, closed: bool
) -> list[Attempt]:
    """Return calls that share a block. The first has all of the block, since only the first begins with a marker."""
    first = [Attempt(start, end, inside, readings[0], closed)]
    return first + [Attempt(end, end, inside, reading, closed) for reading in readings[1:]]


def _readings(raw: str) -> Iterator[CallReading]:
    """Read calls as an expression, a list of them, or one a line."""
    calls = _parsed(raw)
    if calls is None:
        yield "malformed_structure", None, None
        return
    for call in calls:
        try:
            arguments = {word.arg: _value(word.value) for word in call.keywords if word.arg is not None}
            positional = bool(call.args) or len(arguments) < len(call.keywords)
            decode_json_form(arguments)
        except (ValueError, TypeError, RecursionError, UnicodeError):
            yield "malformed_structure", ast.unparse(call.func), None
            continue
        name = ast.unparse(call.func)
        yield ("malformed_structure", name, None) if positional else ("ok", name, arguments)


def decode_json_form(arguments: dict[str, Json]) -> None:
    """Raise where a value has no JSON form."""
    import json

    decode_json(json.dumps(arguments, allow_nan=False))


def _parsed(raw: str) -> list[ast.Call] | None:
    if len(raw) > _LONGEST or max((raw.count(bracket) for bracket in "[{("), default=0) > 10_000 or _too_deep(raw):
        return None
    one = raw if "\n" not in raw else ",".join(line for line in raw.splitlines() if line.strip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(raw if raw.startswith("[") else f"[{one}]", mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    items = tree.body.elts if isinstance(tree.body, ast.List) else []
    calls = [item for item in items if isinstance(item, ast.Call) and isinstance(item.func, (ast.Name, ast.Attribute))]
    return calls if calls and len(calls) == len(items) else None


def _too_deep(raw: str) -> bool:
    """Return whether brackets nest deeper than any call's. Brackets in texts count too."""
    depth = deepest = 0
    for character in re.findall(r"[\[\](){}]", raw):
        depth += 1 if character in "[({" else -1
        deepest = max(deepest, depth)
    return deepest > _DEEPEST


def _value(node: ast.expr) -> Json:
    """Return the value of a literal. `true`, `false` and `null` are JSON's."""
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        if any(not isinstance(key, ast.Constant) or not isinstance(key.value, str) for key in node.keys):
            raise ValueError("a key that is no text")
        return {ast.literal_eval(key): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    value: Json = ast.literal_eval(node)
    if not isinstance(value, (str, int, float, bool, type(None))):
        raise ValueError("no JSON value")
    return value
