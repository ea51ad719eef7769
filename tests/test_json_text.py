"""JSON as templates print it, against `json` itself."""

from __future__ import annotations

import json
import sys

import pytest

from isc._json import json_text
from isc.types import Json

SURROGATES = range(0xD800, 0xE000)


class Text(str):
    """A text that is more."""

    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": "b", "n": -5, "big": 10**30, "zero": 0},
        {'"\\\n': "\x00\x1f\x7f\u2028\ud7ff</s>&'"},
        {"é": "é", "e": "é"},
        {"lone": "\ud800"},
        {"\udfff": 1},
        {"yes": True, "no": False, "none": None, "pi": 3.5, "text": "x"},
        {"nested": {"a": [1, "2", {}]}, "after": "x"},
        {2: "number", None: "nothing", True: "yes"},
        {Text("key"): Text("value")},
        {"value": Text('"')},
        ["a", {"b": "c"}],
        "text",
    ],
    ids=ascii,
)
def test_a_value_is_written_as_json_writes_it(value: Json) -> None:
    assert json_text(value) == json.dumps(value, ensure_ascii=False)


def test_every_character_is_written_as_json_writes_it() -> None:
    for start in range(0, sys.maxunicode + 1, 0x800):
        text = "".join(chr(code) for code in range(start, start + 0x800) if code not in SURROGATES)
        assert json_text({"text": text}) == json.dumps({"text": text}, ensure_ascii=False)
