"""`sampling_cuts="none"`: ids are the template's own encoding, with no place where the sampler's prompt ended."""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

import isc
from cases import CASES, Case
from isc import testing
from isc.encoding.encoders import VocabularyEncoder

GOLDENS = Path(__file__).parent.parent / "data" / "goldens"
RANDOM_CONVERSATIONS = 60

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cases
def test_ids_equal_the_golden_everywhere(
    case: Case, reference: Path, real_encoder: Callable[[str], VocabularyEncoder]
) -> None:
    """The goldens hold the ids of the model's own tokenizer on the text of its own template."""
    renderer = case.renderer(case.encoder(real_encoder))
    rows: list[dict[str, Any]] = json.loads((GOLDENS / f"{case.name}.json").read_text(encoding="utf-8"))["rows"]
    for row in rows:
        ids = renderer.render_ids(
            *case.golden(row["conversation"]),
            row["generation_prompt"],
            body_specials="parse",
            sampling_cuts="none",
        )
        assert hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16] == row["ids"], row["conversation"]


@cases
def test_random_conversations_have_the_reference_ids(
    case: Case, reference: Path, real_encoder: Callable[[str], VocabularyEncoder]
) -> None:
    renderer = case.renderer(case.encoder(real_encoder))
    independent = case.reference(reference)
    for seed in range(RANDOM_CONVERSATIONS):
        source = random.Random(seed)
        conversation = testing.Writer(source, case.shape()).conversation()
        prompted = source.random() < 0.5
        text = independent.text(conversation, add_generation_prompt=prompted)
        ids = renderer.render_ids(*conversation, prompted, body_specials="parse", sampling_cuts="none")
        assert ids == tuple(independent.encode(text)[0]), conversation


@cases
def test_a_token_over_a_seam_is_body(case: Case) -> None:
    """On a vocabulary whose tokens span every seam, against the characters that `tokenizers` says each came from."""
    encoder = testing.adversarial_encoder(case.family.specials)
    document: Any = encoder.__reduce__()[1][0]  # what it is pickled by
    tokenizer = Tokenizer.from_str(document.decode())
    renderer = case.renderer(encoder)
    spanning = 0
    for seed in range(20):
        messages, tools = testing.Writer(random.Random(seed), case.shape()).conversation()
        segments = list(renderer.segments(messages, tools))
        text = "".join(segment.text * segment.repeat for segment in segments)
        if unicodedata.normalize("NFC", text) != text:  # offsets then count other characters
            continue
        rendered = renderer.render(messages, tools, sampling_cuts="none", body_specials="parse")
        found = tokenizer.encode(text, add_special_tokens=False)
        owners = [(s.message, s.body, s.kind) for s in segments for _ in range(len(s.text) * s.repeat)]
        touched = [owners[start:end] for start, end in found.offsets]
        expected = [next((owner for owner in places if owner[1]), places[0]) for places in touched]
        assert list(rendered.token_ids) == found.ids
        forged = {k for k, places in enumerate(touched) if len(set(places)) > 1 and places[0][2] == "special"}
        for k, (message, is_body, _) in enumerate(expected):
            if k not in forged:
                assert (rendered.message_indices[k], rendered.is_content[k]) == (message, is_body), (k, found.tokens[k])
        spanning += sum(len({owner[:2] for owner in places}) > 1 for places in touched)
    assert spanning or case.name != "qwen3", "no token spanned a seam"


QWEN_35 = isc.Qwen35()
ASKED: list[dict[str, Any]] = [{"role": "user", "content": "time?"}, {"role": "assistant", "content": "12:00"}]


def test_line_breaks_that_a_prompt_ends_within_are_one_token_again(
    real_encoder: Callable[[str], VocabularyEncoder],
) -> None:
    """Line breaks are 198, two of them 271: `apply_chat_template` has 271 after an empty `<think>`."""
    renderer = isc.create_renderer(real_encoder("qwen3.5"), QWEN_35)
    think = renderer.encoder.specials["<think>"]
    after: list[tuple[int, ...]] = []
    for cuts in ("all", "none"):
        rendered = isc.create_renderer(renderer.encoder, QWEN_35, sampling_cuts=cuts).render(ASKED)
        place = rendered.token_ids.index(think) + 1
        after.append(rendered.token_ids[place : place + 2])
        assert rendered.is_content[place] is (cuts == "none")
    one, two = (next(iter(renderer.encoder.encode_batch([text])))[0] for text in ("\n", "\n\n"))
    assert after[0] == (one, one)
    assert after[1][0] == two


def test_the_policy_of_one_call_goes_before_that_of_the_renderer(
    real_encoder: Callable[[str], VocabularyEncoder],
) -> None:
    cut = isc.create_renderer(real_encoder("qwen3.5"), QWEN_35)
    whole = isc.create_renderer(real_encoder("qwen3.5"), QWEN_35, sampling_cuts="none")
    assert cut.render(ASKED) != whole.render(ASKED)
    assert cut.render(ASKED, sampling_cuts="none") == whole.render(ASKED)
    assert whole.render_ids(ASKED, sampling_cuts="all") == cut.render_ids(ASKED)


def test_samples_follow_the_renderer(real_encoder: Callable[[str], VocabularyEncoder]) -> None:
    whole = isc.create_renderer(real_encoder("qwen3.5"), QWEN_35, sampling_cuts="none")
    assert isc.build_training_sample(whole, ASKED).rendered == whole.render(ASKED)


def test_a_policy_that_does_not_exist_is_refused(small: isc.Renderer) -> None:
    wrong: Any = "non"
    with pytest.raises(isc.OptionError, match=r"sampling_cuts='non'.*'all', 'none'"):
        isc.create_renderer(small.encoder, small.family, sampling_cuts=wrong)
    with pytest.raises(isc.OptionError, match="sampling_cuts='non'"):
        small.render(ASKED, sampling_cuts=wrong)
    with pytest.raises(isc.OptionError, match="sampling_cuts=''"):
        small.render(ASKED, sampling_cuts=wrong[:0])
