"""Which calls can be told while they are sampled: the teller of each grammar."""

from __future__ import annotations

from isc.formats.reading.gemma_calls import GemmaCalls
from isc.formats.reading.gemma_telling import GemmaTeller
from isc.formats.reading.grammars import Grammar
from isc.formats.reading.json_calls import JsonCalls
from isc.formats.reading.json_telling import JsonTeller
from isc.formats.reading.llama_calls import LlamaCalls
from isc.formats.reading.llama_telling import LlamaTeller
from isc.formats.reading.nested_calls import NestedCalls
from isc.formats.reading.nested_telling import NestedTeller
from isc.formats.reading.tagged_calls import TaggedCalls
from isc.formats.reading.tagged_telling import TaggedTeller, is_told
from isc.formats.reading.telling import Teller


def teller_of(grammar: Grammar, marks: tuple[str, ...]) -> Teller | None:
    """Return what tells the calls of a grammar, None where they are told at their end.

    `marks` are the specials that are told from text, as `read_parts` has them.

    >>> from isc.formats.reading.pythonic_calls import PythonicCalls
    >>> teller_of(PythonicCalls("", ""), ()) is None
    True
    """
    if isinstance(grammar, JsonCalls) and grammar.enders and not grammar.echoes:
        return JsonTeller(grammar, marks)
    if isinstance(grammar, TaggedCalls) and is_told(grammar):
        return TaggedTeller(grammar, marks)
    if isinstance(grammar, GemmaCalls) and grammar.closer in marks and grammar.quote in marks and grammar.enders:
        return GemmaTeller(grammar, marks)
    if isinstance(grammar, NestedCalls):
        return NestedTeller(grammar, marks)
    if isinstance(grammar, LlamaCalls):
        return LlamaTeller(grammar, marks)
    return None
