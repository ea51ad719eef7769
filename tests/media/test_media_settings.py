"""Placeholders are counted from sizes alone, as transformers' own processor counts them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

import isc
from image_files import QWEN2_VL, QWEN3_VL
from isc.media import FixedPlaceholders, ImageProcessor, QwenImages
from isc.media.settings import image_settings

TIGHT = {**QWEN3_VL, "size": {"shortest_edge": 100 * 100, "longest_edge": 300 * 300}}


def sizes(seed: int) -> tuple[int, int]:
    """Tiny, huge and extreme sizes, their logarithms evenly spread."""
    source = random.Random(seed)
    return int(2 ** source.uniform(0, 14)), int(2 ** source.uniform(0, 14))


@pytest.mark.parametrize("config", [QWEN2_VL, QWEN3_VL, TIGHT], ids=["qwen2-vl", "qwen3-vl", "tight"])
def test_sizes_are_the_processor_s_own(config: Mapping[str, Any]) -> None:
    settings = QwenImages.of(config)
    unit = settings.patch_size * settings.merge_size
    refused = 0
    for seed in range(500):
        width, height = sizes(seed)
        try:
            high, wide = smart_resize(height, width, unit, settings.min_pixels, settings.max_pixels)
        except ValueError:
            refused += 1
            with pytest.raises(isc.OptionError, match=f"{width} x {height}"):
                settings.count(width, height)
            continue
        assert settings.resized(width, height) == (wide, high)
        assert settings.count(width, height) == wide * high // unit**2
    assert 0 < refused < 250


def test_older_and_newer_configurations_are_read() -> None:
    assert QwenImages.of(QWEN2_VL) == QwenImages(14, 2, 2, 3136, 12845056)
    assert QwenImages.of(QWEN3_VL) == QwenImages(16, 2, 2, 65536, 16777216)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"patch_size": None}, "patch_size must be a positive integer, not None"),
        ({"patch_size": True}, "patch_size must be a positive integer, not True"),
        ({"merge_size": -2}, "merge_size"),
        ({"temporal_patch_size": "2"}, "temporal_patch_size"),
        ({"size": {"longest_edge": 9}}, "min_pixels must be a positive integer, not 0"),
        ({"size": 448}, "min_pixels"),
        ({"size": {"shortest_edge": 10, "longest_edge": 9}}, "min_pixels 10 is above max_pixels 9"),
    ],
)
def test_an_impossible_setting_is_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(isc.OptionError, match=named):
        image_settings({**QWEN3_VL, **changed})


def test_an_unknown_processor_is_not_guessed() -> None:
    assert image_settings({"image_processor_type": "SiglipImageProcessor", "patch_size": 16}) is None
    with pytest.raises(isc.OptionError, match="'SiglipImageProcessor' is not known"):
        ImageProcessor.from_config({"image_processor_type": "SiglipImageProcessor"})


def test_a_fixed_number_knows_no_size() -> None:
    assert {FixedPlaceholders(1).count(*sizes(seed)) for seed in range(20)} == {1}
