"""Mistral's images: counts by size as transformers and mistral-common count, rows of placeholders, pixel values."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers.image_utils import load_image
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

import isc
from golden_conversations import assistant, call, system, tool, user
from image_files import PIXTRAL, QWEN3_VL, part, picture, pixtral_grid
from isc._sources import Source
from isc.encoding.encoders import embedded
from isc.formats.mistral import Mistral, Variant
from isc.media import ImageProcessor, PixtralImages
from isc.media.settings import image_settings
from isc.rendered import PlaceholderRange

PIXTRAL_12B: dict[str, Any] = {**PIXTRAL, "patch_size": 16, "spatial_merge_size": 1, "size": {"longest_edge": 1024}}
SAYS = {"type": "text", "text": "Look"}
SHOWN = {"type": "image", "hash": "9f86", "width": 60, "height": 50}
SEEING: tuple[Variant, ...] = ("v11", "v13")
ROWS = "[IMG][IMG][IMG][IMG_BREAK][IMG][IMG][IMG][IMG_END]"


def sizes(seed: int, most: int = 14) -> tuple[int, int]:
    """Tiny, huge and extreme sizes, their logarithms evenly spread."""
    source = random.Random(seed)
    return int(2 ** source.uniform(0, most)), int(2 ** source.uniform(0, most))


def seeing(variant: Variant, config: dict[str, Any] = PIXTRAL) -> isc.Renderer:
    family = Mistral(variant=variant, current_date="2030-01-02" if variant == "v11" else None)
    return isc.create_renderer(embedded(family.specials), family, images=ImageProcessor.from_config(config))


def spelled(renderer: isc.Renderer, messages: list[dict[str, Any]]) -> str:
    return "".join(segment.text * segment.repeat for segment in renderer.segments(messages))


@pytest.mark.parametrize("config", [PIXTRAL, PIXTRAL_12B], ids=["mistral-3", "pixtral-12b"])
def test_counts_are_the_processor_s_own(config: dict[str, Any]) -> None:
    settings = PixtralImages.of(config)
    refused = 0
    for seed in range(1000):
        width, height = sizes(seed)
        columns, rows = pixtral_grid(width, height, config)
        if not columns * rows:
            refused += 1
            with pytest.raises(isc.OptionError, match=f"{width} x {height} pixels has nothing left of one edge"):
                settings.count(width, height)
            continue
        assert settings.grid(width, height) == (columns, rows)
        assert settings.count(width, height) == (columns + 1) * rows
    assert 0 < refused < 150


@pytest.mark.parametrize("config", [PIXTRAL, PIXTRAL_12B], ids=["mistral-3", "pixtral-12b"])
def test_counts_that_round_are_those_of_mistral_common(config: dict[str, Any]) -> None:
    image = pytest.importorskip("mistral_common.tokens.tokenizers.image")
    patch, longest, merged = config["patch_size"], config["size"]["longest_edge"], config["spatial_merge_size"]
    theirs = image.ImageEncoder(image.ImageConfig(patch, longest, merged), image.SpecialImageIDs(0, 1, 2))
    settings, cut = PixtralImages(patch, merged, longest, rounds=True), PixtralImages.of(config)
    parted = 0
    for seed in range(1000):
        size = sizes(seed)
        assert settings.grid(*size) == theirs._image_to_num_tokens(SimpleNamespace(size=size))
        parted += max(size) <= min(size) * longest and settings.count(*size) != cut.count(*size)
    assert 0 < parted < 20  # where an edge is rounded up over the end of a patch


@pytest.mark.parametrize("config", [PIXTRAL, PIXTRAL_12B], ids=["mistral-3", "pixtral-12b"])
def test_pixel_values_are_the_processor_s_own(config: dict[str, Any]) -> None:
    processor = ImageProcessor.from_config(config)
    theirs = PixtralImageProcessorPil.from_dict(dict(config))
    merged = config["patch_size"] * config["spatial_merge_size"]
    for seed in range(12):
        image = picture(*sizes(seed, 11), seed=seed)
        measured = processor.measured(part(image))
        wanted = dict(theirs(images=[load_image(image)], patch_size=merged, return_tensors="np"))
        made = processor.arrays(measured)
        assert {*made} == {*wanted} == {"pixel_values", "image_sizes"}
        assert all(np.array_equal(made[name].values(), values) for name, values in wanted.items())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"patch_size": 0}, "patch_size must be a positive integer, not 0"),
        ({"patch_size": {"height": 14, "width": 16}}, "patches must be squares"),
        ({"spatial_merge_size": None}, "spatial_merge_size"),
        ({"size": {"height": 1540, "width": 1540}}, "longest_edge must be a positive integer, not 0"),
    ],
)
def test_an_impossible_setting_is_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(isc.OptionError, match=named):
        image_settings({**PIXTRAL, **changed})
    with pytest.raises(isc.OptionError, match="rounds must be True or False"):
        PixtralImages(14, 2, 1540, rounds=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("nested", [True, False])
def test_the_merge_is_read_of_the_processor_s_own_file(nested: bool, tmp_path: Path) -> None:
    image = {"image_processor_type": "PixtralImageProcessor", "patch_size": {"height": 16, "width": 16}}
    image |= {"size": {"longest_edge": 1540}}
    own = {"processor_class": "PixtralProcessor", "patch_size": 14, "spatial_merge_size": 2}
    (tmp_path / "processor_config.json").write_text(json.dumps(own | ({"image_processor": image} if nested else {})))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({} if nested else image))
    assert image_settings(Source(str(tmp_path)).processor_settings()) == PixtralImages(14, 2, 1540)


@pytest.mark.parametrize("variant", SEEING)
def test_all_tokens_of_an_image_are_its_placeholders_and_body(variant: Variant) -> None:
    renderer = seeing(variant)
    messages = [system("s"), user([SHOWN, SAYS, SHOWN])]
    assert spelled(renderer, messages).endswith(f"[INST]{ROWS}Look{ROWS}[/INST]")
    rendered = renderer.render(messages, parts=True)
    data = rendered.multi_modal_data
    assert data is not None
    first, second = data.placeholders["image"]
    specials = renderer.encoder.specials
    wanted = [specials[f"[{text}]"] for text in ["IMG", "IMG", "IMG", "IMG_BREAK", "IMG", "IMG", "IMG", "IMG_END"]]
    for place in (first, second):
        span = slice(place.offset, place.offset + place.length)
        assert list(rendered.token_ids[span]) == wanted
        assert {rendered.message_indices[k] for k in range(*span.indices(len(rendered)))} == {1}
        assert all(rendered.is_content[span])
    assert [(run.part, run.length) for run in rendered.runs if run.body][1::2] == [("media", 8), ("media", 8)]
    assert second == PlaceholderRange(first.offset + 8 + len(next(iter(renderer.encoder.encode_batch(["Look"])))), 8)


def test_two_images_side_by_side_are_two(tmp_path: Path) -> None:
    data = seeing("v11").render([user([SHOWN, SHOWN, {**SHOWN, "hash": "ab"}])]).multi_modal_data
    assert data is not None
    assert data.hashes["image"] == ("9f86", "9f86", "ab")
    offsets = [(place.offset, place.length) for place in data.placeholders["image"]]
    assert offsets == [(offsets[0][0] + 8 * k, 8) for k in range(3)]


def test_v13_shows_an_image_before_the_text_beside_it_and_v11_as_it_was_said() -> None:
    said = [system("s"), user([SAYS, SHOWN])]
    assert spelled(seeing("v11"), said).endswith(f"[INST]Look{ROWS}[/INST]")
    assert spelled(seeing("v13"), said).endswith(f"[INST]{ROWS}Look[/INST]")
    assert spelled(seeing("v13"), [system("s"), user([SAYS, SHOWN, SAYS])]).endswith(f"Look{ROWS}Look[/INST]")


def test_tools_of_v11_stand_before_every_message_that_equals_the_last() -> None:
    renderer = seeing("v11")
    offered = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]
    for last, times in (([SHOWN], 2), ([{**SHOWN, "hash": "ab"}], 1), ("Look", 1)):
        messages = [user([SHOWN]), assistant("a"), user(last)]
        text = "".join(segment.text for segment in renderer.segments(messages, offered))
        assert text.count("[AVAILABLE_TOOLS]") == times


@pytest.mark.parametrize("variant", SEEING)
def test_a_traced_template_shows_the_same_rows(variant: Variant) -> None:
    source = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{% for part in m.content %}"
    source += "{{ part.text if part.type == 'text' else '[IMG]' }}{% endfor %}[/INST]{% else %}{{ m.content }}</s>"
    source += "{% endif %}{% endfor %}"
    specials = Mistral(variant=variant).specials
    family = isc.template.TracedTemplate(source=source, bos_token="<s>", eos_token="</s>", specials=specials)
    traced = isc.create_renderer(embedded(specials), family, images=ImageProcessor.from_config(PIXTRAL))
    messages = [user([SHOWN, SAYS, SHOWN]), assistant("a")]
    assert spelled(traced, messages) == f"<s>[INST]{ROWS}Look{ROWS}[/INST]a</s>"
    theirs, ours = (renderer.render(messages).multi_modal_data for renderer in (traced, seeing(variant)))
    assert theirs is not None
    assert ours is not None
    assert (theirs.hashes, [p.length for p in theirs.placeholders["image"]]) == (ours.hashes, [8, 8])


def test_what_does_not_see_or_is_not_seen_is_refused() -> None:
    results = [user("?"), assistant("", call("now", {}, "abcdef123")), tool([SHOWN], "abcdef123")]
    for messages, path in (
        (results, "messages[2].content[0]"),
        ([user("?"), assistant([SHOWN])], "messages[1].content[0]"),  # type: ignore[arg-type]
        ([system([SHOWN]), user("?")], "messages[0].content[0]"),  # type: ignore[arg-type]
    ):
        with pytest.raises(isc.ConversationError, match="takes text only") as error:
            seeing("v11").render(messages)
        assert error.value.path == path
    with pytest.raises(isc.ConversationError, match=r"no rows.*PixtralImages") as error:
        seeing("v11", QWEN3_VL).render([user([SAYS, SHOWN])])
    assert error.value.path == "messages[0].content[1]"
    with pytest.raises(isc.ConversationError, match="takes text only"):
        seeing("v3-tekken").render([user([SHOWN])])
