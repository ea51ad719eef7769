"""Segments written down short: by owner, body in brackets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from isc.types import Segment


def shown(segments: Sequence[Segment]) -> str:
    """Segments by owner, body in brackets, ChatML's specials and line breaks as one character each."""
    found = ""
    for owner, group in groupby(segments, lambda segment: segment.message):
        parts = ""
        for body, run in groupby(group, lambda segment: segment.body):
            text = "".join(segment.text for segment in run)
            parts += f"[{text}]" if body else text
        found += f"{owner if owner >= 0 else ''}({parts})"
    return found.replace("\n", "~").replace("<|im_start|>", "«").replace("<|im_end|>", "»")
