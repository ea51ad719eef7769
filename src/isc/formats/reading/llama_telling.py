"""Llama 3's calls, told while they are sampled: after the marker, and at the very front of a turn.

An object at the front is a call once it has said a name and begun its arguments; until then it may be content. Nothing
but the end of the turn ends a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from isc.formats.reading.coded import encoded
from isc.formats.reading.json_calls import JsonCalls
from isc.formats.reading.json_telling import JsonTeller
from isc.formats.reading.llama_calls import ARGUMENT_KEYS, JSON_CALL_BEGINS, LlamaCalls
from isc.formats.reading.telling import LONGEST_HEAD, GrammarTeller, OpenCall, Told
from isc.types import ToolSpec


class LlamaTeller(GrammarTeller[LlamaCalls], frozen=True):
    """Tells calls of a grammar while they are sampled."""

    def told(self, call: OpenCall, piece: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on with a control token's character, or with text that goes on from the text before it."""
        text = call.text + piece
        if call.stage != "head" or text.startswith(encoded(self.grammar.marker, self.marks)):
            return _teller(self.grammar.marker, self.marks).told(call, piece, tools)
        if JSON_CALL_BEGINS.match(text) is None:
            return Told(OpenCall(call.start, text=text) if len(text) <= LONGEST_HEAD else call.lost())
        return _teller("", self.marks).told(call, piece, tools)


@lru_cache(maxsize=64)
def _teller(marker: str, marks: tuple[str, ...]) -> JsonTeller:
    return JsonTeller(JsonCalls(marker, "", marks, keys=ARGUMENT_KEYS), marks)
