"""`isc show`: every token once, with its end, its owner and its part, in 80 columns and without colours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.color import Color

import isc
from command_line import written
from isc import cli
from isc.cli.show import COLOURS
from isc.viewer.texts import token_texts

EXAMPLES = ("chat.json", "languages.json", "reasoning.json", "tools.json")
pytestmark = pytest.mark.usefixtures("eighty_columns")

STYLES = re.compile(r"\x1b\[[0-9;]*m")


def token_lines(text: str) -> list[str]:
    """The lines under the headings of the messages."""
    shown = text[text.index("\n── ") + 1 :]
    return [line[2:] for line in shown.splitlines() if not line.startswith("── ")]


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("more", [(), ("--ids",)])
def test_no_line_is_wider_than_80_cells_when_piped(
    root: Path, name: str, more: tuple[str, ...], output: Callable[..., str]
) -> None:
    text = output("show", root / "examples" / name, "--family", "qwen3", *more)
    legend = text[text.index("⟦body⟧") :]
    assert max(map(cell_len, legend.splitlines())) <= 80
    assert "embedded vocabulary" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_token_is_shown_once_with_its_end(
    root: Path, name: str, output: Callable[..., str], small: isc.Renderer
) -> None:
    given = json.loads((root / "examples" / name).read_text())
    rendered = small.render(given["messages"], given.get("tools"))
    text = "".join(token_lines(output("show", root / "examples" / name, "--family", "qwen3")))
    assert len(re.findall("[│┃]", text)) == len(rendered)
    assert text.count("┃") == sum(rendered.sampled_mask)
    bodies = re.findall("⟦([^⟧]*)⟧", text)
    assert len(bodies) == sum(run.body for run in rendered.runs)
    assert sum(len(re.findall("[│┃]", body)) for body in bodies) == sum(rendered.is_content)


@pytest.mark.parametrize("name", ["reasoning.json", "tools.json"])
def test_parts_of_bodies_are_told_apart_where_they_are_asked_for(
    root: Path, name: str, output: Callable[..., str], small: isc.Renderer
) -> None:
    given = json.loads((root / "examples" / name).read_text())
    rendered = small.render(given["messages"], given.get("tools"), parts=True)
    shown = output("show", root / "examples" / name, "--family", "qwen3", "--parts")
    named = re.findall(r"(\w+)⟦", "".join(token_lines(shown)))
    assert named == [run.part for run in rendered.runs if run.body]
    lines = output("show", root / "examples" / name, "--family", "qwen3", "--parts", "--ids").splitlines()
    told = [line.split(maxsplit=5)[4] for line in lines if re.match(r" +\d+ +\d+ ", line)]
    assert told == [run.part or "scaffold" for run in rendered.runs for _ in range(run.length)]
    assert max(map(cell_len, lines[-200:])) <= 80


def test_ids_are_shown_one_a_line(root: Path, output: Callable[..., str], small: isc.Renderer) -> None:
    given = json.loads((root / "examples" / "chat.json").read_text())
    rendered = small.render(given["messages"], add_generation_prompt=True)
    shown = output("show", root / "examples/chat.json", "--family", "qwen3", "--ids", "--generation-prompt")
    lines = [line.split(maxsplit=5) for line in shown.splitlines() if re.match(r" +\d+ +\d+ ", line)]
    assert [int(line[1]) for line in lines] == list(rendered.token_ids)
    assert [line[4] == "trained" for line in lines] == list(rendered.sampled_mask)
    assert [line[4] != "scaffold" for line in lines] == list(rendered.is_content)
    assert lines[-1][2:4] == ["-", "nobody"]


def test_what_cannot_be_seen_is_shown(tmp_path: Path, output: Callable[..., str]) -> None:
    content = "a b\tc\r\n\x00\x1b\u200b\u00a0│⟦·◌\u0301 <|im_end|>"
    text = "".join(
        token_lines(output("show", written(tmp_path / "in", {"role": "user", "content": content}), "--family", "qwen3"))
    )
    body = re.sub("[│⟧]", "", text[text.index("⟦") + 1 : text.rindex("⟧")])
    for sign in ("·", "→", "␍", "↵", "⟨U+0000⟩", "⟨U+001B⟩", "<|im_end|>"):
        assert sign in body
    for completed in ("⟨U+200B⟩", "⟨U+00A0⟩", "⟨U+2502⟩", "⟨U+27E6⟩", "⟨U+00B7⟩", "⟨U+25CC⟩"):
        assert completed[1:-1] in body
    assert text.index("<|im_start|>│") == 0


def test_a_character_spread_over_tokens_is_shown_by_its_bytes_and_then_whole(small: isc.Renderer) -> None:
    encoder = small.encoder
    ids = [
        token_id
        for byte in "é🌅".encode()
        for token_id in range(256)
        if encoder.decode_bytes((token_id,)) == bytes([byte])
    ]
    assert len(ids) == 6
    assert token_texts(ids, encoder) == ["⟨C3⟩", "⟨A9=é⟩", "⟨F0⟩", "⟨9F⟩", "⟨8C⟩", "⟨85=🌅⟩"]
    assert token_texts(ids[1:4], encoder) == ["⟨A9⟩", "⟨F0⟩", "⟨9F⟩"]
    assert token_texts([], encoder) == []
    assert token_texts([10**6, ids[0]], encoder) == ["", "⟨C3⟩"]


def test_a_mark_at_the_start_of_a_token_gets_a_base() -> None:
    encoder = isc.encoders.embedded(("\u0301x", "e\u0301"))
    accent, letter = (encoder.specials[text] for text in ("\u0301x", "e\u0301"))
    assert token_texts([accent, letter], encoder) == ["◌\u0301x", "e\u0301"]


def test_a_token_longer_than_a_line_is_broken(tmp_path: Path, output: Callable[..., str]) -> None:
    place = written(tmp_path / "in", {"role": "user", "content": "-" * 300 + "漢" * 90})
    lines = token_lines(output("show", place, "--family", "qwen3"))
    assert max(map(cell_len, lines)) <= 78
    assert "".join(lines).count("-") == 300


def test_colours_say_nothing_that_the_characters_do_not(
    root: Path, output: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("show", root / "examples/chat.json", "--family", "qwen3")
    plain = output(*arguments)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = output(*arguments)
    assert STYLES.sub("", coloured) == plain
    underlined = re.findall(r"\x1b\[1;4;38;5;\d+m([^\x1b]*)\x1b", coloured[coloured.index("── ") :])
    trained = [token for token in re.split("(?<=[│┃])", "".join(token_lines(plain))) if token.endswith("┃")]
    assert "".join(underlined) == re.sub("[⟦┃]", "", "".join(trained))


def luminance(red: float, green: float, blue: float) -> float:
    """The relative luminance of a colour, as WCAG 2 has it."""
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("role", COLOURS)
def test_a_role_can_be_read_on_dark_and_on_light(role: str) -> None:
    number = re.fullmatch(r"color\((\d+)\)", COLOURS[role])
    assert number is not None
    light = luminance(*Color.from_ansi(int(number[1])).get_truecolor().normalized)
    for screen in ((0.0, 0.0, 0.0), (0.12, 0.12, 0.12), (0.99, 0.96, 0.89), (1.0, 1.0, 1.0)):
        low, high = sorted((light, luminance(*screen)))
        assert (high + 0.05) / (low + 0.05) >= 3


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("more", [(), ("--legend", "--parts"), ("--ids", "--parts"), ("--ids", "--legend")])
def test_forty_columns_are_enough(
    root: Path, name: str, more: tuple[str, ...], output: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.chdir(root)
    text = output("show", f"examples/{name}", "--family", "qwen3", "--generation-prompt", *more)
    place, *lines = text.splitlines()
    assert place == f"examples/{name} as qwen3, loss assistant"
    assert max(map(cell_len, lines)) <= 40
    monkeypatch.setenv("COLUMNS", "200")
    wide = output("show", f"examples/{name}", "--family", "qwen3", "--generation-prompt", *more)
    assert len(re.findall("[│┃]", text)) == len(re.findall("[│┃]", wide))


def test_the_legend_is_a_line_unless_it_is_asked_for(root: Path, output: Callable[..., str]) -> None:
    asked = ("show", root / "examples/chat.json", "--family", "qwen3")
    assert output(*asked).count("(--legend: all marks)\n\n── 0 system") == 1
    explained = output(*asked, "--legend")
    assert "--legend" not in explained
    for mark in "┃│·◌⟧":
        assert re.search(f"^[^ ]*{mark}  +[a-z]", explained, re.MULTILINE)


def test_what_is_trained_on_is_what_the_loss_says(
    tmp_path: Path, output: Callable[..., str], small: isc.Renderer
) -> None:
    chat: list[dict[str, object]] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello", "weight": 0},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "bye"},
    ]
    place = written(tmp_path / "in", *chat)
    for loss, options in (
        ("assistant", {}),
        ("user-bodies", {"role_to_mask": {}, "content_sft_roles": {"user"}}),
        ("assistant:content", {"parts": {"assistant": {"content"}}}),
    ):
        sample = isc.build_training_sample(small, chat, **options)
        lines = output("show", place, "--family", "qwen3", "--loss", loss, "--ids").splitlines()
        shown = [line.split(maxsplit=5)[4] == "trained" for line in lines if re.match(r" +\d+ +\d+ ", line)]
        assert shown == list(sample.loss_mask)
        text = "".join(token_lines(output("show", place, "--family", "qwen3", "--loss", loss)))
        assert text.count("┃") == sample.trainable_tokens


def test_tokens_are_counted_by_role(root: Path, output: Callable[..., str], small: isc.Renderer) -> None:
    given = json.loads((root / "examples" / "tools.json").read_text())
    rendered = small.render(given["messages"], given["tools"])
    text = output("show", root / "examples/tools.json", "--family", "qwen3")
    total = re.search(r"^total +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)$", text, re.MULTILINE)
    assert total is not None
    body = sum(rendered.is_content)
    expected = (len(given["messages"]), len(rendered), len(rendered) - body, body, sum(rendered.sampled_mask))
    assert tuple(int(number.replace(",", "")) for number in total.groups()) == expected


def test_a_file_that_is_not_there_is_said_before_a_format_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["show", str(tmp_path / "nowhere.json")]) != 0
    told = capsys.readouterr().err
    assert "nowhere.json" in told
    assert "--family" not in told
