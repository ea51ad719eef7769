"""Law 1: goldens that are kept in the repository, and the models' own templates where the reference data is at hand."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import isc
from cases import CASES, Case
from isc import testing
from isc.encoding.encoders import VocabularyEncoder, embedded
from references import as_the_template_takes_it

GOLDENS = Path(__file__).parent.parent / "data" / "goldens"
RANDOM_CONVERSATIONS = 20_000 if os.environ.get("ISC_PROFILE") == "nightly" else 600

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def golden(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDENS / f"{case.name}.json").read_text(encoding="utf-8"))
    return found


@cases
def test_text_equals_the_golden(case: Case) -> None:
    renderer = case.renderer(embedded(case.family.specials))
    rows = golden(case)["rows"]
    assert len(rows) >= 25
    for row in rows:
        messages, tools = case.golden(row["conversation"])
        segments = renderer.segments(messages, tools, row["generation_prompt"])
        assert "".join(segment.text * segment.repeat for segment in segments) == row["text"], row["conversation"]


@cases
def test_what_the_format_cannot_render_is_refused(case: Case) -> None:
    renderer = case.renderer(embedded(case.family.specials))
    for name, path in case.refuses.items():
        with pytest.raises(isc.ConversationError) as error:
            renderer.render(*case.golden(name))
        assert error.value.path == path


@cases
def test_ids_equal_the_golden_but_at_sampling_cuts(
    case: Case, reference: Path, real_encoder: Callable[[str], VocabularyEncoder]
) -> None:
    renderer = case.renderer(case.encoder(real_encoder))
    equal = 0
    for row in golden(case)["rows"]:
        conversation = case.golden(row["conversation"])
        rendered = renderer.render(*conversation, row["generation_prompt"], body_specials="parse")
        digest = hashlib.sha256(json.dumps(rendered.token_ids).encode()).hexdigest()[:16]
        equal += digest == row["ids"]
        if digest != row["ids"]:
            prompt: bool = row["generation_prompt"]
            assert testing.parity(renderer, conversation, case.reference(reference), add_generation_prompt=prompt)
    assert equal, "no conversation of the table has the reference's ids"


@cases
def test_the_golden_is_of_the_template_at_hand(case: Case, reference: Path) -> None:
    assert golden(case)["sha256"] == case.reference(reference).digest
    assert golden(case)["template"] == case.template


@cases
def test_random_conversations_equal_the_template(
    case: Case, reference: Path, real_encoder: Callable[[str], VocabularyEncoder], record_property: Callable[..., None]
) -> None:
    """Text is always equal; ids equal but where a token of the reference spans a sampling cut."""
    renderer = case.renderer(case.encoder(real_encoder))
    independent = case.reference(reference)
    cut: Counter[str] = Counter()
    conversations_cut = 0
    for seed in range(RANDOM_CONVERSATIONS):
        source = random.Random(seed)
        conversation = testing.Writer(source, case.shape()).conversation()
        tokens = testing.parity(renderer, conversation, independent, add_generation_prompt=source.random() < 0.5)
        conversations_cut += bool(tokens)
        cut.update(f"{token.text[: token.cut]!r}|{token.text[token.cut :]!r}" for token in tokens)
    record_property("conversations_with_a_cut_token", conversations_cut)
    print(
        f"{case.name}: a token of the reference spans a cut in {conversations_cut} conversations: {cut.most_common(8)}"
    )


def test_text_only_formats_join_text_parts() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert as_the_template_takes_it(messages) == [{"role": "user", "content": "ab"}]
