"""Texts as a model would sample them."""

from __future__ import annotations

import isc
from isc.encoding.fold import fold
from isc.formats.segments import spelled


def ids_of(renderer: isc.Renderer, text: str) -> tuple[int, ...]:
    """What a model would sample to say this, markers as tokens."""
    return fold(spelled(text, renderer.family.specials), renderer.encoder).token_ids
