"""Pixel values are those of the model's own processor; they are made when asked for, and once."""

from __future__ import annotations

import pickle
import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import isc
from image_files import PNG, QWEN2_VL, QWEN3_VL, data_url, encoded, lazy, part, picture
from isc.media import FixedPlaceholders, ImageProcessor, Process, QwenImages
from isc.media.cache import BoundedCache

TURN_LEFT = Image.Exif()
TURN_LEFT[0x0112] = 6  # what is up lies to the right


@pytest.fixture
def processor() -> ImageProcessor:
    return ImageProcessor.from_config(QWEN3_VL)


def reference(image: Image.Image, config: Mapping[str, Any]) -> Mapping[str, np.ndarray[Any, Any]]:
    """The model's processor on an image as transformers loads it."""
    from transformers.image_utils import load_image

    return dict(Qwen2VLImageProcessorPil.from_dict(dict(config))(images=[load_image(image)], return_tensors="np"))


@pytest.mark.parametrize("config", [QWEN2_VL, QWEN3_VL], ids=["qwen2-vl", "qwen3-vl"])
def test_pixel_values_are_the_processor_s_own(config: dict[str, Any]) -> None:
    bounded = {key: value for key, value in config.items() if key not in ("size", "min_pixels", "max_pixels")}
    bounded |= {"size": {"shortest_edge": 56 * 56, "longest_edge": 448 * 448}}  # fast, and scales both ways
    processor = ImageProcessor.from_config(bounded)
    compared = 0
    for seed in range(500):
        source = random.Random(seed)
        image = picture(int(2 ** source.uniform(0, 11)), int(2 ** source.uniform(0, 11)), seed=seed)
        try:
            measured = processor.measured(part(image))
        except isc.MediaError:
            with pytest.raises(ValueError, match="aspect ratio"):
                reference(image, bounded)
            continue
        theirs, ours = reference(image, bounded), processor.arrays(measured)
        assert {name: array.values().tolist() for name, array in ours.items() if name != "pixel_values"} == {
            name: values.tolist() for name, values in theirs.items() if name != "pixel_values"
        }
        assert np.array_equal(np.asarray(ours["pixel_values"]), theirs["pixel_values"])
        assert measured.placeholders == theirs["image_grid_thw"].prod() // 4
        compared += 1
    assert compared > 300


@pytest.mark.parametrize(
    "content",
    [
        encoded(picture(60, 40, "CMYK"), "JPEG"),
        encoded(picture(60, 40), "JPEG", exif=TURN_LEFT),
        encoded(picture(60, 40, "L")),
        encoded(picture(60, 40, "RGBA")),
        encoded(picture(60, 40, "P")),
        encoded(picture(60, 40, "1")),
        encoded(picture(60, 40), "WEBP"),
        encoded(picture(60, 40), "BMP"),
        encoded(picture(60, 40), "TIFF"),
        encoded(picture(60, 40, "I;16")),
    ],
    ids=["cmyk", "rotated", "grey", "alpha", "palette", "bits", "webp", "bmp", "tiff", "sixteen-bit"],
)
def test_colours_and_rotation_are_what_transformers_makes_of_them(content: bytes, processor: ImageProcessor) -> None:
    measured = processor.measured(part(content))
    theirs = reference(lazy(content), QWEN3_VL)
    assert np.array_equal(np.asarray(processor.arrays(measured)["pixel_values"]), theirs["pixel_values"])
    assert (measured.width, measured.height) in {(60, 40), (40, 60)}


def test_a_rotated_photograph_is_as_high_as_it_looks(processor: ImageProcessor) -> None:
    measured = processor.measured(part(encoded(picture(600, 40), "JPEG", exif=TURN_LEFT)))
    assert (measured.width, measured.height) == (40, 600)


def test_the_same_image_twice_is_processed_once(tmp_path: Path) -> None:
    made: list[tuple[int, int]] = []
    inner = ImageProcessor.from_config(QWEN3_VL).process
    assert inner is not None

    def process(image: Image.Image) -> Mapping[str, np.ndarray[Any, Any]]:
        made.append(image.size)
        return inner(image)

    processor = ImageProcessor(QwenImages.of(QWEN3_VL), process)
    path = tmp_path / "same.png"
    path.write_bytes(PNG)
    measured = [processor.measured(part(value)) for value in (PNG, path, data_url(PNG, "image/png"))]
    threads = [threading.Thread(target=processor.arrays, args=(one,)) for one in measured * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [(64, 48)]
    assert processor.cache.held == sum(len(array.data) for array in processor.arrays(measured[0]).values())


def test_an_image_that_changed_since_is_told(processor: ImageProcessor, tmp_path: Path) -> None:
    path = tmp_path / "changing.png"
    path.write_bytes(PNG)
    measured = processor.measured(part(path))
    path.write_bytes(encoded(picture(64, 48, seed=3)))
    with pytest.raises(isc.MediaError, match="is not the image that was rendered"):
        processor.arrays(measured)


def test_a_processor_that_makes_another_number_of_patches_is_told() -> None:
    def process(image: Image.Image) -> Mapping[str, np.ndarray[Any, Any]]:
        return {"image_grid_thw": np.array([[1, 2, 2]])}

    processor = ImageProcessor(QwenImages.of(QWEN3_VL), process)
    with pytest.raises(isc.MediaError, match="has 70 placeholders, but the processor made 1"):
        processor.arrays(processor.measured(part(PNG)))


def test_a_model_without_a_processor_says_so() -> None:
    processor = ImageProcessor(FixedPlaceholders(1))
    with pytest.raises(isc.LoadError, match="which isc never runs; pass process"):
        processor.arrays(processor.measured(part(PNG)))


def test_a_processor_pickles_as_its_settings(processor: ImageProcessor) -> None:
    again = pickle.loads(pickle.dumps(processor))
    assert again.settings == processor.settings
    measured = again.measured(part(PNG))
    assert again.arrays(measured) == processor.arrays(measured)


def test_the_cache_stays_within_its_bound_and_drops_the_oldest() -> None:
    cache = BoundedCache[bytes](limit=10, size=len)
    made: list[int] = []

    def maker(key: int, size: int) -> Callable[[], bytes]:
        def make() -> bytes:
            made.append(key)
            return bytes(size)

        return make

    for key, size in ((1, 4), (2, 4), (1, 4), (3, 4), (2, 4), (9, 11), (9, 11)):
        assert len(cache.get(key, maker(key, size))) == size
        assert cache.held <= 10
    assert made == [1, 2, 3, 2, 9, 9]


def test_an_error_is_not_kept() -> None:
    cache = BoundedCache[bytes](limit=10, size=len)
    with pytest.raises(ZeroDivisionError):
        cache.get(1, lambda: bytes(1 // 0))
    assert cache.get(1, lambda: b"fine") == b"fine"


def test_a_process_is_any_function_of_an_image() -> None:
    def process(image: Image.Image) -> Mapping[str, np.ndarray[Any, Any]]:
        return {"size": np.array(image.size)}

    typed: Process = process
    processor = ImageProcessor(FixedPlaceholders(1), typed)
    assert processor.arrays(processor.measured(part(PNG)))["size"].values().tolist() == [64, 48]
