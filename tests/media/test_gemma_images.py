"""Gemma 4's images: tokens counted from sizes, pixel values on demand, as transformers' own processor has them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from transformers.image_utils import load_image
from transformers.models.gemma4.image_processing_pil_gemma4 import (
    Gemma4ImageProcessorPil,
    get_aspect_ratio_preserving_size,
)

import isc
from golden_conversations import assistant, call, tool, user
from image_files import GEMMA4, PNG, part, picture
from isc.encoding.encoders import embedded
from isc.media import GemmaImages, ImageProcessor
from isc.media.settings import image_settings

FEW = {**GEMMA4, "max_soft_tokens": 70, "pooling_kernel_size": 2}


def sizes(seed: int, most: int) -> tuple[int, int]:
    """Tiny, huge and extreme sizes, their logarithms evenly spread."""
    source = random.Random(seed)
    return int(2 ** source.uniform(0, most)), int(2 ** source.uniform(0, most))


@pytest.mark.parametrize("config", [GEMMA4, FEW], ids=["as-published", "few-tokens"])
def test_sizes_are_the_processor_s_own(config: dict[str, Any]) -> None:
    settings = GemmaImages.of(config)
    unit = settings.patch_size * settings.pooling_kernel_size
    patches = settings.max_soft_tokens * settings.pooling_kernel_size**2
    for seed in range(1000):
        width, height = sizes(seed, 14)
        high, wide = get_aspect_ratio_preserving_size(
            height, width, settings.patch_size, patches, settings.pooling_kernel_size
        )
        assert settings.resized(width, height) == (wide, high)
        assert settings.count(width, height) == wide * high // unit**2 <= settings.max_soft_tokens


def test_pixel_values_are_the_processor_s_own() -> None:
    processor = ImageProcessor.from_config(FEW)
    theirs = Gemma4ImageProcessorPil.from_dict(dict(FEW))
    for seed in range(40):
        image = picture(*sizes(seed, 10), seed=seed)
        measured = processor.measured(part(image))
        wanted = dict(theirs(images=[load_image(image)], return_tensors="np"))
        made = processor.arrays(measured)
        assert {*made} == {"pixel_values", "image_position_ids", "num_soft_tokens_per_image"}
        assert all(np.array_equal(made[name].values(), values) for name, values in wanted.items())
        assert measured.placeholders == wanted["num_soft_tokens_per_image"][0]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"patch_size": 0}, "patch_size must be a positive integer, not 0"),
        ({"pooling_kernel_size": "3"}, "pooling_kernel_size"),
        ({"max_soft_tokens": 300}, "max_soft_tokens must be one of 70, 140, 280, 560, 1120, not 300"),
    ],
)
def test_impossible_settings_are_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(isc.OptionError, match=named):
        image_settings({**GEMMA4, **changed})


def test_what_a_configuration_leaves_out_is_the_processor_s_default() -> None:
    assert image_settings({"image_processor_type": "Gemma4ImageProcessor"}) == GemmaImages(16, 3, 280)


def test_placeholders_are_body_and_the_marks_around_them_scaffold() -> None:
    family = isc.Gemma4()
    images = ImageProcessor.from_config(GEMMA4)
    renderer = isc.create_renderer(embedded(family.specials), family, images=images)
    messages = [user([{"type": "text", "text": " Look: "}, {"type": "image", "image": PNG}])]
    said = [(s.text, s.repeat, s.body) for s in renderer.segments(messages)]
    assert said[3:7] == [("Look:", 1, True), ("<|image>", 1, False), ("<|image|>", 266, True), ("<image|>", 1, False)]
    prompt = renderer.render(messages, add_generation_prompt=True)
    full = images.processed(prompt, messages)
    assert full.multi_modal_data is not None
    assert full.multi_modal_data.placeholders["image"][0].length == 266
    first = isc.create_renderer(embedded(family.specials), isc.Gemma4(variant="31b-initial"), images=images)
    # {{- '\n\n<|image|>\n\n' -}} in the first template
    shown = "".join(s.text for s in first.segments(messages))
    assert "Look:\n\n<|image><|image|><image|>\n\n<turn|>" in shown


def test_an_image_in_a_result_is_refused_which_the_template_drops() -> None:
    family = isc.Gemma4()
    renderer = isc.create_renderer(embedded(family.specials), family, images=ImageProcessor.from_config(GEMMA4))
    shown = [user("?"), assistant("", call("now", {}, "1")), tool([{"type": "image", "image": PNG}], "1")]
    with pytest.raises(isc.ConversationError, match="takes text only") as error:
        renderer.render(shown)
    assert error.value.path == "messages[2].content[0]"
