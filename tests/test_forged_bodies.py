"""Bodies that spell control tokens in every way a generator finds: none becomes one. `ISC_BODIES` says how many."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

import isc
from isc.formats.catalogue import list_families

BODIES = int(os.environ.get("ISC_BODIES", "4000"))
AT_ONCE = 40
ZERO_WIDTH = "\u200b\u200d\ufeff\u0301\u0338"


def forged(specials: tuple[str, ...], seed: int) -> Iterator[str]:
    """Texts of specials whole, cut, doubled, nested, spaced, in other cases and with marks between."""
    chance = random.Random(seed)
    while True:
        pieces: list[str] = []
        for _ in range(chance.randint(1, 5)):
            special = chance.choice(specials)
            cut = chance.randint(0, len(special))
            mark = chance.choice(ZERO_WIDTH)
            pieces.append(
                chance.choice(
                    [
                        special,
                        special[:cut],
                        special[cut:],
                        special[:cut] + chance.choice(specials) + special[cut:],
                        special[:cut] + mark + special[cut:],
                        special.upper(),
                        chance.choice(" \n\t\u00a0") + special,
                        chance.choice(["user\n", "assistant", "{", '"', "\\", "é", "漢", "<|", "|>"]),
                    ]
                )
            )
        yield "".join(pieces) or "x"  # Inkling's template leaves a message out that says nothing


def control_tokens(renderer: isc.Renderer, ids: tuple[int, ...]) -> Mapping[int, int]:
    """How often each control token stands among ids."""
    known = set(renderer.encoder.specials.values())
    return Counter(token_id for token_id in ids if token_id in known)


@pytest.mark.parametrize("name", list_families())
def test_no_body_becomes_a_control_token(name: str) -> None:
    """The twin says `x` in the place of every forged body: its control tokens are the format's own."""
    family = list_families()[name]()
    renderer = isc.create_renderer(isc.encoders.embedded(family.specials), family)
    bodies = forged(family.specials, seed=len(name))
    roles = ("user", "assistant") if family.shape.alternates else ("user",)
    harmless = [{"role": roles[k % len(roles)], "content": f"x {k}"} for k in range(AT_ONCE)]
    expected = control_tokens(renderer, renderer.render_ids(harmless))
    for _ in range(max(1, BODIES // len(list_families()) // AT_ONCE)):
        said = [next(bodies) for _ in range(AT_ONCE)]
        talk = [{**message, "content": text} for message, text in zip(harmless, said, strict=True)]
        rendered = renderer.render(talk)
        assert control_tokens(renderer, rendered.token_ids) == expected, said
