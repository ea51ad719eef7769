"""A render is encoded in one call, its specials by marks: the ids are those of `tokenizers`, and no text is a mark."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import isc
from cases import CASES, Case
from isc import testing
from isc.encoding import _streams, engines
from isc.encoding._units import units
from isc.encoding.base import Marks
from isc.encoding.encoders import VocabularyEncoder, embedded, from_tokenizer_json
from isc.encoding.fold import fold
from isc.testing import Conversation
from isc.types import MediaPart, Segment
from texts import hostile
from tokenizer_files import byte_level, qwen3_file, text_of, with_added_tokens


@pytest.fixture(scope="module", autouse=True)
def at_once() -> Iterator[None]:
    """Streams of few texts are encoded in one call, too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_streams, "_MANY", 1)
        yield


REAL = ("qwen3", "deepseek-r1", "llama-3.1", "gpt-oss")


class Pair(NamedTuple):
    """An encoder, and the tokenizer of the same file without its added tokens: ordinary text only."""

    encoder: VocabularyEncoder
    ordinary: Tokenizer


@pytest.fixture(scope="session")
def pair(reference: Path, real_encoder: Callable[[str], VocabularyEncoder]) -> Callable[[str], Pair]:
    @cache
    def find(name: str) -> Pair:
        document = json.loads((reference / "tokenizers" / name / "tokenizer.json").read_text(encoding="utf-8"))
        ordinary = {**document, "added_tokens": [], "post_processor": None}
        return Pair(real_encoder(name), Tokenizer.from_str(json.dumps(ordinary)))

    return find


def marks_of(encoder: VocabularyEncoder) -> Marks:
    assert encoder.marks is not None
    return encoder.marks


def apart(pair: Pair, texts: Sequence[str], specials: Sequence[str]) -> list[int]:
    """The ids of texts, each encoded alone by `tokenizers`, with the specials between them."""
    ids = pair.ordinary.encode(texts[0], add_special_tokens=False).ids
    for special, text in zip(specials, texts[1:], strict=True):
        ids += [pair.encoder.specials[special], *pair.ordinary.encode(text, add_special_tokens=False).ids]
    return ids


@pytest.mark.parametrize("name", REAL)
@given(texts=st.lists(hostile, min_size=2, max_size=6), seed=st.integers(0, 999))
def test_texts_between_specials_are_encoded_as_each_alone(
    name: str, texts: list[str], seed: int, pair: Callable[[str], Pair]
) -> None:
    own = pair(name)
    specials = random.Random(seed).choices(list(marks_of(own.encoder).spellings), k=len(texts) - 1)
    stream = [Segment(texts[0])]
    for special, text in zip(specials, texts[1:], strict=True):
        stream += [Segment(special, "special"), Segment(text)]
    assert list(fold(stream, own.encoder).token_ids) == apart(own, texts, specials)


@pytest.mark.parametrize("name", REAL)
def test_no_text_is_a_mark(name: str, pair: Callable[[str], Pair]) -> None:
    """Every mark spelled out by a caller, alone and among text, beside a special that is one."""
    own = pair(name)
    marks = marks_of(own.encoder)
    special = next(iter(marks.spellings))
    for spelled in list(marks.spellings.values())[:40]:
        for text in (spelled, f"a{spelled}b", spelled * 2, marks.sign, spelled[:-1]):
            stream = [Segment(special, "special"), Segment(text, "text", True, 0), Segment(special, "special")]
            rendered = fold(stream, own.encoder, ("user",))
            assert list(rendered.token_ids) == apart(own, ["", text, ""], [special, special])
            (alone,) = own.encoder.encode_batch([text])
            assert list(alone) == own.ordinary.encode(text, add_special_tokens=False).ids


def test_a_message_that_spells_marks_is_rendered_as_by_tokenizers(small: isc.Renderer) -> None:
    plain = isc.create_renderer(from_tokenizer_json(qwen3_file(), engine="tokenizers"), isc.Qwen3())
    assert plain.encoder.specials == small.encoder.specials
    said = "".join(marks_of(from_tokenizer_json(qwen3_file())).spellings.values())
    chat = [{"role": "user", "content": said}, {"role": "assistant", "content": f"{said} <|im_end|>"}]
    assert small.render(chat) == plain.render(chat)


class _Forgetful(engines.FastokensEngine):
    """An engine that knows one mark less than it says."""

    def _encode_marked(self, text: str) -> list[int]:
        return super()._encode_marked(text)[:-1]


def test_marks_that_are_not_read_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    document = text_of(with_added_tokens(byte_level(), ["<|x|>", "<|y|>"]))
    stream = [Segment("<|x|>", "special"), Segment("word", "text", True, 0), Segment("<|y|>", "special")]
    expected = fold(stream, from_tokenizer_json(document), ("user",))
    monkeypatch.setenv("ISC_NO_CACHE", "1")
    monkeypatch.setattr(engines, "FastokensEngine", _Forgetful)
    encoder = from_tokenizer_json(document)
    assert encoder.engine_name == "fastokens"
    assert encoder.marks is None
    assert fold(stream, encoder, ("user",)) == expected


def test_an_encoder_that_is_made_later_has_the_marks_of_what_it_becomes() -> None:
    document = text_of(with_added_tokens(byte_level(), ["<|x|>"]))
    assert marks_of(from_tokenizer_json(document, "later")).spellings.keys() == {"<|x|>"}
    assert from_tokenizer_json(document, "tokenizers").marks is None


def test_the_placeholders_of_an_image_are_all_there() -> None:
    """Three tokens of one special, and what stands behind them in its place."""
    encoder = embedded(("<img>", "<end>"))
    image, end = encoder.specials["<img>"], encoder.specials["<end>"]
    (before,), (after,) = encoder.encode_batch(["see"]), encoder.encode_batch(["there"])
    part = MediaPart("image", {}, placeholders=3)
    stream = [
        Segment("see", "text", False, 0), Segment("<img>", "special", True, 0, 3, part),
        Segment("there", "text", True, 1), Segment("<end>", "special", False, 1),
    ]  # fmt: skip
    rendered = fold(stream, encoder, ("user", "user"))
    assert rendered.token_ids == (*before, image, image, image, *after, end)
    runs = [(run.length, run.message, run.body) for run in rendered.runs]
    assert runs == [(len(before), 0, False), (3, 0, True), (len(after), 1, True), (1, 1, False)]
    assert rendered.multi_modal_data is not None
    ((placed,),) = rendered.multi_modal_data.placeholders.values()
    assert (placed.offset, placed.length) == (len(before), 3)


def test_a_special_that_the_vocabulary_lacks_is_named() -> None:
    stream = [Segment("see"), Segment("<|gone|>", "special")]
    for encoder in (embedded(()), testing.adversarial_encoder(())):
        with pytest.raises(isc.MissingSpecialError, match=r"no token '<\|gone\|>'"):
            fold(stream, encoder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("cuts", ["all", "none"])
def test_turns_are_read_as_their_segments_are(case: Case, cuts: isc.types.SamplingCuts) -> None:
    """A render reads a conversation by turns; the stream of its segments, cut into letters besides, says the same."""
    renderer = case.renderer(testing.adversarial_encoder(case.family.specials))

    @given(testing.conversations(case.shape(), longest=4), st.booleans())
    def check(conversation: Conversation, parts: bool) -> None:
        messages, tools = conversation
        rendered = renderer.render(messages, tools, sampling_cuts=cuts, parts=parts)
        segments = list(renderer.segments(messages, tools, parts=parts))
        for stream in (segments, [letter for unit in units(segments, frozenset()) for letter in letters(unit)]):
            roles, names = rendered.message_roles, rendered.message_tool_names
            assert fold(stream, renderer.encoder, roles, names, sampling_cuts=cuts, parts=parts) == rendered

    check()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("law", [testing.ownership, testing.no_forgery], ids=lambda law: law.__name__)
def test_laws_hold_where_all_is_encoded_in_one_call(
    case: Case,
    law: Callable[[isc.Renderer, Conversation], None],
    real_encoder: Callable[[str], VocabularyEncoder],
) -> None:
    renderer = case.renderer(case.encoder(real_encoder))

    @given(testing.conversations(case.shape()))
    def check(conversation: Conversation) -> None:
        law(renderer, conversation)

    check()


def test_turns_that_say_no_parts_are_not_given_any(small: isc.Renderer) -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    said = small.family.conversation(small.chat(messages))
    rendered = fold(said, small.encoder, ("user", "assistant"), parts=True)
    assert rendered == small.render(messages)
    assert {run.part for run in rendered.runs} == {None}


def letters(unit: Sequence[Segment]) -> list[Segment]:
    """Texts letter by letter, specials as they are."""
    return [
        Segment(text, one.kind, one.body, one.message, one.repeat, one.media, one.part)
        for one in unit
        for text in ([one.text] if one.kind == "special" else one.text)
    ]
