"""`isc decode`: ids from words, files and standard input; their text, and each of them with the name of a special."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import isc
from isc.cli import Exit, main

pytestmark = pytest.mark.usefixtures("eighty_columns")
CHAT = [{"role": "user", "content": "a\x1bé🌅"}, {"role": "assistant", "content": "no"}]


def token_rows(text: str) -> list[list[str]]:
    """The table of tokens: position, id, what it is and its text."""
    table = text[text.index("  token ") :].splitlines()[1:]
    return [[line[:7].strip(), line[8:15].strip(), line[17:24].strip(), line[26:]] for line in table]


@pytest.mark.parametrize("form", ["words", "commas", "list", "numbers", "render", "row", "piped"])
def test_ids_are_decoded_wherever_they_are(
    form: str, tmp_path: Path, small: isc.Renderer, output: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = small.render(CHAT)
    ids = rendered.token_ids
    words = [str(token_id) for token_id in ids]
    written = {
        "list": json.dumps(ids),
        "numbers": "\n".join(words),
        "render": json.dumps({"token_ids": ids}),
        "row": json.dumps({"input_ids": ids, "labels": []}),
        "piped": json.dumps({"token_ids": ids}) + "\n" + json.dumps({"token_ids": [1]}),
    }
    (tmp_path / "ids").write_text(written.get(form, ""))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(written.get(form, "").encode())))
    given = {"words": words, "commas": [",".join(words)], "piped": ["-"]}.get(form, [tmp_path / "ids"])
    text = output("decode", *given, "--family", "qwen3")
    assert small.decode(ids).replace("\x1b", "⟨U+001B⟩") in text
    assert "\x1b" not in text
    rows = token_rows(text)
    assert [(int(place), int(token_id)) for place, token_id, *_ in rows] == list(enumerate(ids))
    specials = set(small.encoder.specials.values())
    assert [kind == "special" for *_, kind, _ in rows] == [token_id in specials for token_id in ids]
    assert rows[0][3] == "<|im_start|>"


def test_an_id_of_no_token_is_said(output: Callable[..., str], small: isc.Renderer) -> None:
    (letter,) = next(iter(small.encoder.encode_batch(["a"])))
    text = output("decode", letter, 10**6, letter, "--family", "qwen3")
    assert "\na\ufffda\n" in text
    assert [kind for *_, kind, _ in token_rows(text)] == ["", "unknown", ""]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["decode", "--family", "qwen3"], "give ids"),
        (["decode", "1"], "whose vocabulary?"),
        (["decode", "nowhere", "--family", "qwen3"], "nowhere: No such file"),
        (["decode", "{bad}", "--family", "qwen3"], "ids are numbers"),
        (["decode", str(1 << 40), "--family", "qwen3"], "from 0 to 2147483647"),
    ],
)
def test_what_are_no_ids_is_refused(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").write_text('{"labels": [1]}')
    assert main([word.format(bad=tmp_path / "bad") for word in arguments]) == Exit.FAILED
    assert problem in capsys.readouterr().err
