"""Whatever ids a sampler gives are read without an error. `ISC_NOISE` says how many turns."""

from __future__ import annotations

import os
import random

import pytest

import isc
from isc.formats.catalogue import list_families
from isc.types import ToolSpec

TURNS = int(os.environ.get("ISC_NOISE", "3000"))
PIECES = ('{"a": ', '"', "}", "[", "\n", " ", "<", ">", "x", "=", "f", "\\", "</", "é", "漢", "1e999", "functions.f:0")
TOOLS = (ToolSpec({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}),)


@pytest.mark.parametrize("name", list_families())
def test_noise_is_read_without_an_error(name: str) -> None:
    """Specials, ids of nothing, and the pieces of which calls are made, in any order."""
    family = list_families()[name]()
    renderer = isc.create_renderer(isc.encoders.embedded(family.specials), family)
    words = [tuple(ids) for ids in renderer.encoder.encode_batch(PIECES)]
    words += [(token_id,) for token_id in renderer.encoder.specials.values()]
    prompt = renderer.render_ids([{"role": "user", "content": "x"}], add_generation_prompt=True)
    source = random.Random(name)
    for number in range(max(1, TURNS // len(list_families()))):
        chosen = source.choices([*words, (source.randrange(-9, 10**6),)], k=source.randint(1, 40))
        ids = tuple(token_id for word in chosen for token_id in word)
        parsed = renderer.parse_response(ids, TOOLS, prompt_ids=prompt if number % 2 else None)
        assert isinstance(parsed, isc.ParsedResponse)
