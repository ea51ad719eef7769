"""One bad line of a model that is rendered by its own template: it is named, and the others go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isc.cli import Exit, main
from tokenizer_files import byte_level, text_of, with_added_tokens

REFUSES = (
    "{% for m in messages %}{% if m.content == 'bad' %}{{ raise_exception('no such talk') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

pytestmark = pytest.mark.filterwarnings("ignore::isc.errors.TracedTemplateNotice")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    specials = with_added_tokens(byte_level(), ["<|im_start|>", "<|im_end|>"])
    (directory / "tokenizer.json").write_text(text_of(specials))
    (directory / "chat_template.jinja").write_text(REFUSES)
    return directory


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    place = tmp_path / "in.jsonl"
    lines = (
        [{"role": "user", "content": content}, {"role": "assistant", "content": "a"}]
        for content in ("ok", "bad", "fine")
    )
    place.write_text("".join(json.dumps(line) + "\n" for line in lines) + "[1\n")
    return place


def test_render_names_the_bad_lines_and_goes_on(model: Path, talks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(talks), "--model", str(model)]) == Exit.REJECTED
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert f"{talks}:2: " in printed.err
    assert "no such talk" in printed.err
    assert f"{talks}:4: not JSON" in printed.err


def test_check_tells_of_the_bad_lines_and_checks_the_others(
    model: Path, talks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(model), str(talks), "--built-in-count", "3"]) == Exit.REJECTED
    printed = capsys.readouterr()
    assert f"{talks}:4: not JSON" in printed.err
    assert f"{talks}:2" in printed.out.replace("\n", "")
    assert "text parity" in printed.out


def test_show_names_the_place(model: Path, talks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(talks), "--line", "2", "--model", str(model)]) == Exit.FAILED
    assert f"{talks}:2: " in capsys.readouterr().err
