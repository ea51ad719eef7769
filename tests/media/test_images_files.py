"""Images by the files of a model: its settings are read; `isc show` marks images, `isc build` carries them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import isc
from golden_conversations import assistant, user
from image_files import PNG, QWEN3_VL, encoded, picture
from isc.cli import Exit, main
from tokenizer_files import byte_level, text_of, with_added_tokens


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory as a vision model's, with a small vocabulary."""
    place = tmp_path / "model"
    place.mkdir()
    (place / "tokenizer.json").write_text(text_of(with_added_tokens(byte_level(), isc.Qwen3VL().specials)))
    (place / "preprocessor_config.json").write_text(json.dumps(QWEN3_VL))
    return place


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    """A picture on disk."""
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    return path


def count(renderer: isc.Renderer, image: object) -> int:
    """Placeholders of one image."""
    data = renderer.render([user([{"type": "image", "image": image}])]).multi_modal_data
    assert data is not None
    return data.placeholders["image"][0].length


def test_the_model_s_settings_are_read(model: Path) -> None:
    assert count(isc.load(model, isc.Qwen3VL()), PNG) == 70
    (model / "preprocessor_config.json").unlink()
    (model / "processor_config.json").write_text(json.dumps({"image_processor": {**QWEN3_VL, "patch_size": 32}}))
    assert count(isc.load(model, isc.Qwen3VL()), PNG) == 20


def test_a_renderer_with_images_pickles_with_its_resolver(model: Path) -> None:
    renderer = isc.load(model, isc.Qwen3VL(), resolve_media=Path("/nowhere").joinpath)
    again = pickle.loads(pickle.dumps(renderer))
    assert count(again, PNG) == 70
    with pytest.raises(isc.MediaError, match="cannot be read: No such file"):
        count(again, "cat.png")


@pytest.mark.parametrize(
    ("config", "error", "problem"),
    [
        ("{", isc.LoadError, "preprocessor_config.json of .* is not JSON"),
        (json.dumps({**QWEN3_VL, "patch_size": None}), isc.OptionError, "patch_size must be a positive integer"),
        (json.dumps({"image_processor_type": "Other"}), isc.ConversationError, "has no image processor"),
        (None, isc.ConversationError, "has no image processor, which says how many tokens an image takes; isc.load"),
    ],
)
def test_settings_that_cannot_be_used(model: Path, config: str | None, error: type[isc.Error], problem: str) -> None:
    path = model / "preprocessor_config.json"
    path.unlink() if config is None else path.write_text(config)
    with pytest.raises(error, match=problem):
        count(isc.load(model, isc.Qwen3VL()), PNG)


def test_a_template_without_a_family_takes_images_as_well(model: Path) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{% for p in m.content %}{% if p.type == 'image' %}<|image_pad|>"
        "{% else %}{{ p.text }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    )
    (model / "chat_template.jinja").write_text(template)
    renderer = isc.load(model)
    assert count(renderer, PNG) == 70
    shown = [user([{"type": "text", "text": "<|image_pad|>"}, {"type": "image", "image": PNG}])]
    body = [segment.text for segment in renderer.segments(shown) if segment.body]
    assert body == ["<|image_pad|>", "<|image_pad|>"]


def test_a_template_that_shows_no_image_is_told(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content[0].text }}{% endfor %}")
    with pytest.raises(isc.ConversationError, match="has 1 images, but the template shows 0 placeholders"):
        count(isc.load(model), PNG)


def test_show_marks_images(model: Path, cat: Path, tmp_path: Path, output: Callable[..., str]) -> None:
    path = tmp_path / "chat.json"
    path.write_text(json.dumps([user([{"type": "image", "image": str(cat)}]), assistant("A cat.")]))
    options = ("--family", "qwen3-vl", "--model", model, "--images-from", tmp_path)
    shown = output("show", path, *options)
    assert f"⟦<|image_pad|>⟨x70: image 1 {cat}⟩│⟧<|vision_end|>" in shown.replace("\n", "").replace("  ", "")
    assert output("show", path, *options, "--ids").count("<|image_pad|>") == 70


def lines(cat: Path) -> list[list[dict[str, Any]]]:
    """Two conversations that can be built, one that shows no image, and one whose image is broken."""
    broken = cat.with_name("broken.png")
    broken.write_bytes(PNG[:-30])
    images: list[Any] = [{"type": "image", "image": str(path)} for path in (cat, broken)]
    return [
        [user([images[0]]), assistant("A cat.")],
        [user("Hi"), assistant("Hello!")],
        [user([images[1]]), assistant("?")],
        [user([images[0], images[0]]), assistant("Twice.")],
    ]


def test_build_carries_images_and_sets_a_broken_one_aside(model: Path, cat: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines(cat)))
    options = ["--family", "qwen3-vl", "--model", str(model), "--loss", "assistant", "--images-from", str(tmp_path)]
    assert main(["build", str(source), "-o", str(target), *options]) == Exit.REJECTED
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    found = [row["multi_modal_data"] and msgspec.convert(row["multi_modal_data"], isc.MultiModalData) for row in rows]
    assert [data and data.references["image"] for data in found] == [(str(cat),), None, (str(cat), str(cat))]
    pad = isc.load(model, isc.Qwen3VL()).encoder.specials["<|image_pad|>"]
    for place in found[2].placeholders["image"]:
        assert rows[2]["input_ids"][place.offset : place.offset + place.length] == [pad] * 70
    [rejected] = [json.loads(line) for line in (tmp_path / "out.rejects.jsonl").read_text().splitlines()]
    assert (rejected["line"], "messages[0].content[0].image: cannot be read: it must be" in rejected["reason"]) == (
        3,
        True,
    )


def test_build_writes_media_to_parquet_as_json(model: Path, cat: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    source, target = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines(cat)[:2]))
    options = ["--family", "qwen3-vl", "--model", str(model), "--loss", "assistant", "--images-from", str(tmp_path)]
    assert main(["build", str(source), "-o", str(target), *options]) == Exit.OK
    first, second = parquet.read_table(target).column("multi_modal_data").to_pylist()
    assert msgspec.json.decode(first, type=isc.MultiModalData).references == {"image": (str(cat),)}
    assert second is None


def test_an_image_that_a_processor_refuses_names_its_part(model: Path) -> None:
    renderer = isc.load(model, isc.Qwen3VL())
    with pytest.raises(isc.MediaError, match="at most 200 times the other, not 900 x 2 pixels") as error:
        count(renderer, encoded(picture(900, 2)))
    assert error.value.path == "messages[0].content[0]"
