"""Rank files: the limits in which their text is encoded, against a slow obvious reference; specials by id."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import isc
from golden_conversations import assistant, call, tool
from isc.encoding.encoders import VocabularyEncoder, from_rank_file
from isc.encoding.rank_files import FORMATS, KIMI_K2, Limits, chunks, format_of, named_specials
from isc.formats.kimi_k2 import KimiK2

KIMI = Limits(text=400_000, run=25_000)
blocks = st.lists(st.tuples(st.sampled_from("ab漢 \n\t\u00a0\u3000\x1c"), st.integers(1, 6)), max_size=12)


def slow_chunks(text: str, limits: Limits) -> Iterator[str]:
    """Character by character: how long the run is that it goes on with."""
    for start in range(0, len(text), limits.text):
        piece, run = "", 0
        for character in text[start : start + limits.text]:
            run = run + 1 if piece and character.isspace() == piece[-1].isspace() else 1
            if run > limits.run:
                yield piece
                piece, run = "", 1
            piece += character
        yield piece


@given(blocks, st.integers(1, 20), st.integers(1, 5))
def test_chunks_are_those_of_the_slow_reference(found: list[tuple[str, int]], longest: int, run: int) -> None:
    text = "".join(character * count for character, count in found)
    limits = Limits(longest, run)
    assert list(chunks(text, limits)) == list(slow_chunks(text, limits))


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("", []),
        (" " * 25_000, [25_000]),
        (" " * 25_001, [25_000, 1]),
        (" " * 30_000, [25_000, 5_000]),
        ("x" * 60_000, [25_000, 25_000, 10_000]),
        ("a " * 20_000 + "x" * 25_000, [65_000]),
        ("a " * 20_000 + "x" * 25_001, [65_000, 1]),
        ("x" * 25_000 + "\n" + "y" * 25_000, [50_001]),
        ("a " * 200_000 + "b", [400_000, 1]),
        ("a " * 195_000 + "x" * 30_000, [400_000, 20_000]),
    ],
)
def test_kimis_limits(text: str, lengths: list[int]) -> None:
    assert list(map(len, chunks(text, KIMI))) == lengths


LONG = {
    "spaces": ("a" + " " * 30_000 + "b", [25_001]),
    "letters": ("ha" * 20_001, [25_000]),
    "characters": ("xyz" + "another " * 50_000, [400_000]),
    "spaces within the limit": (" " * 24_999 + "b", []),
    "lines within the limit": ("line after line\n" * 20_000, []),
}


@pytest.mark.parametrize("name", LONG)
def test_ids_differ_from_unlimited_ones_where_text_is_cut(
    name: str, real_encoder: Callable[[str], VocabularyEncoder], reference: Path
) -> None:
    text, cuts = LONG[name]
    encoder = real_encoder("kimi-k2")
    unlimited = from_rank_file(
        reference / "tokenizers" / "kimi-k2" / "tiktoken.model", KIMI_K2.pattern, encoder.specials
    )
    (ids,) = encoder.encode_batch([text])
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert list(ids) == [token_id for piece in unlimited.encode_batch(pieces) for token_id in piece]
    assert (list(ids) == list(next(iter(unlimited.encode_batch([text]))))) is (not cuts)
    assert encoder.decode_bytes(ids) == text.encode()


def test_attribution_is_exact_in_a_text_that_is_cut(real_encoder: Callable[[str], VocabularyEncoder]) -> None:
    """A result's frame and its body are one text: its body is cut by what came before it, too."""
    renderer = isc.create_renderer(real_encoder("kimi-k2"), KimiK2())
    body = "ha" * 20_000 + " " * 30_000
    messages = [assistant("", call("f", {}, "functions.f:0")), tool(body, "functions.f:0")]
    rendered = renderer.render(messages)
    ((start, end),) = rendered.content_token_spans_by_role()["tool"]
    assert renderer.encoder.decode_bytes(rendered.token_ids[start:end]) == body.encode()


def test_limits_are_kept_where_an_encoder_is_pickled(tmp_path: Path) -> None:
    path = tmp_path / "tiktoken.model"
    path.write_text("".join(f"{line}\n" for line in _byte_lines()), encoding="ascii")
    encoder = from_rank_file(path, r"\s+|\S+", {}, Limits(text=6, run=3))
    again = pickle.loads(pickle.dumps(encoder))
    assert [list(ids) for ids in encoder.encode_batch(["aaaa"])] == [[97, 97, 97, 97]]
    assert list(again.encode_batch(["ab" * 4])) == list(encoder.encode_batch(["ab" * 4])) == [[256, 97, 98, 256, 256]]


def _byte_lines() -> Iterator[str]:
    for rank, token in enumerate([*(bytes([byte]) for byte in range(256)), b"ab"]):
        yield f"{base64.b64encode(token).decode()} {rank}"


def configuration(names: dict[str, int], unmarked: list[str]) -> str:
    """A tokenizer_config.json that names these tokens."""
    decoder = {
        str(token_id): {"content": name, "special": name not in unmarked, "lstrip": False}
        for name, token_id in names.items()
    }
    return json.dumps({"added_tokens_decoder": decoder, "tokenizer_class": "TikTokenTokenizer"})


@pytest.mark.parametrize("name", ["kimi-k2", "kimi-k2.5"])
def test_specials_and_pattern_are_those_of_the_reference(name: str, reference: Path) -> None:
    kimi = json.loads((reference / "tokenizers" / name / "kimi_special_tokens.json").read_text(encoding="utf-8"))
    named = {text: token_id for text, token_id in kimi["special_tokens"].items() if "reserved" not in text}
    found = named_specials(configuration(named, kimi["special_flag_false"]), KIMI_K2.special_ids)
    assert found == kimi["special_tokens"]
    assert KIMI_K2.pattern == kimi["pat_str"]
    assert KIMI_K2.special_ids == (kimi["num_base_tokens"], kimi["n_vocab"])


def test_tokens_that_are_not_marked_special_are_specials() -> None:
    text = configuration({"<think>": 3}, ["<think>"])
    assert named_specials(text, (3, 5)) == {"<think>": 3, "<|reserved_token_4|>": 4}


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "{", '{"added_tokens_decoder": {"x": {"content": "y"}}}', '{"added_tokens_decoder": {"3": {}}}'],
)
def test_a_configuration_without_specials_is_an_error_that_says_what_is_missing(text: str) -> None:
    with pytest.raises(isc.LoadError, match=r"tokenizer_config\.json does not name the specials"):
        named_specials(text, (0, 4))


def test_the_reference_has_a_rank_file_that_is_known(reference: Path) -> None:
    assert format_of(reference / "tokenizers" / "kimi-k2" / "tiktoken.model") is KIMI_K2
    assert KIMI_K2 in FORMATS.values()
    assert KIMI_K2.limits == KIMI


def test_an_unknown_rank_file_is_an_error_that_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "tiktoken.model").write_bytes(b"IQ== 0\n")
    with pytest.raises(isc.LoadError, match=r"no rank file that isc knows .* lacks split pattern and specials"):
        format_of(tmp_path / "tiktoken.model")
