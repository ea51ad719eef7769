"""Images: every way to give one, every way one can be bad, pixel values that equal the processor's."""

from __future__ import annotations

import base64
import pickle
import random
import struct
import threading
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import isc
from image_files import QWEN2_VL, QWEN3_VL, encoded, picture
from isc.media import FixedPlaceholders, ImageProcessor, Limits, Process, QwenImages
from isc.media.cache import BoundedCache

PNG = encoded(picture(64, 48))
JPEG = encoded(picture(64, 48), "JPEG")
TURN_LEFT = Image.Exif()
TURN_LEFT[0x0112] = 6  # what is up lies to the right


def part(value: object, key: str = "image") -> isc.MediaPart:
    return isc.MediaPart("image", {"type": "image", key: value})  # type: ignore[dict-item]  # untrusted on purpose


def data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.fixture
def processor() -> ImageProcessor:
    return ImageProcessor.from_config(QWEN3_VL)


def test_every_way_to_give_an_image(processor: ImageProcessor, tmp_path: Path) -> None:
    path = tmp_path / "a picture.png"
    path.write_bytes(PNG)
    url = data_url(PNG, "image/png")
    given: list[tuple[str, object, str | None]] = [
        ("image", PNG, None),
        ("image", bytearray(PNG), None),
        ("bytes", PNG, None),
        ("image", str(path), str(path)),
        ("image", path, str(path)),
        ("path", str(path), str(path)),
        ("url", path.as_uri(), path.as_uri()),
        ("image", url, None),
        ("image_url", url, None),
        ("image_url", {"url": url}, None),
        ("base64", base64.b64encode(PNG).decode(), None),
    ]
    for key, value, reference in given:
        found = processor.measured(part(value, key))
        assert (found.width, found.height, found.placeholders) == (64, 48, 70), key
        assert found.hash == processor.measured(part(PNG)).hash
        assert found.reference == reference


def test_a_pil_image_is_known_by_its_pixels(processor: ImageProcessor) -> None:
    first, again, other = (processor.measured(part(picture(64, 48, seed=seed))) for seed in (0, 0, 1))
    assert first.hash == again.hash != other.hash
    assert (first.width, first.height, first.reference) == (64, 48, None)


def test_a_caller_who_knows_an_image_s_size_needs_no_image(processor: ImageProcessor) -> None:
    known = isc.MediaPart("image", {"type": "image"}, hash="9f86", width=640, height=480)
    assert processor.measured(known).placeholders == 300


def test_references_are_the_caller_s_to_resolve(tmp_path: Path) -> None:
    seen: list[str] = []

    def resolve(reference: str) -> object:
        seen.append(reference)
        return PNG if reference.startswith("https://") else None

    processor = ImageProcessor.from_config(QWEN3_VL, resolve_media=resolve)
    found = processor.measured(part({"url": "https://example.org/a.png"}, "image_url"))
    assert (found.reference, found.width, seen) == ("https://example.org/a.png", 64, ["https://example.org/a.png"])
    assert processor.measured(part(data_url(PNG, "image/png"))).width == 64
    with pytest.raises(isc.MediaError, match="resolve_media found nothing"):
        processor.measured(part("s3://bucket/a.png"))


def lazy(content: bytes) -> Image.Image:
    """A PIL image that is not decoded yet."""
    import io

    return Image.open(io.BytesIO(content))


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + PNG[33:]


GIF = encoded(picture(8, 8), "GIF", save_all=True, append_images=[picture(8, 8, seed=1)])

BAD: dict[str, tuple[object, str]] = {
    "truncated png": (PNG[: len(PNG) // 2], r"is a broken PNG of 64 x 48 pixels"),
    "truncated jpeg": (JPEG[:-60], r"is a broken JPEG of 64 x 48 pixels"),
    "header only": (PNG[:20], "is no image that isc reads"),
    "text": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no image that isc reads .PNG, JPEG"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image that isc reads"),
    "empty": (b"", "is no image that isc reads"),
    "animated": (GIF, "is a GIF of 2 frames; pass the one that is meant"),
    "bomb": (bomb(), "has more than the 89478485 pixels that are read"),
    "lying data URL": (data_url(JPEG, "image/png"), "says image/png, but is image/jpeg"),
    "no image data URL": (data_url(PNG, "text/html"), "says text/html, but is image/png"),
    "broken base64": ("data:image/png;base64,@@@", "is not base64"),
    "no file": ("/no/such/cat.png", "is no file on this machine .got '/no/such/cat.png'."),
    "a device": ("/dev/zero", "is not a regular file"),
    "a directory": ("/tmp", "is not a regular file"),
    "a null byte": ("a\0b.png", "null|no file"),
    "a URL": ("https://example.org/cat.png", "pass resolve_media=..., a function from this URL to bytes"),
    "a number": (7, "must be bytes, a path, a data URL, a PIL image"),
    "too long": (picture(2000, 4), "at most 200 times the other, not 2000 x 4 pixels"),
    "truncated PIL image": (lazy(JPEG[:-60]), "is a broken JPEG of 64 x 48 pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_a_typed_error_that_names_the_part(name: str, processor: ImageProcessor) -> None:
    value, problem = BAD[name]
    with pytest.raises(isc.MediaError, match=problem):
        processor.measured(part(value))
    renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3VL().specials), isc.Qwen3VL(), images=processor)
    content = [{"type": "text", "text": "look"}, {"type": "image", "image": value}]
    with pytest.raises(isc.MediaError) as error:
        renderer.render([{"role": "user", "content": "hi"}, {"role": "user", "content": content}])
    assert error.value.path.startswith("messages[1].content[1]")


def test_a_part_without_an_image_says_where_one_goes(processor: ImageProcessor) -> None:
    with pytest.raises(isc.MediaError, match="holds no image; put it under one of image, image_url"):
        processor.measured(isc.MediaPart("image", {"type": "image"}))
    with pytest.raises(isc.MediaError, match=r"^image_url\.url: must be bytes"):
        processor.measured(part({"href": "x"}, "image_url"))


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    processor = ImageProcessor(FixedPlaceholders(1), limits=Limits(file_bytes=100, pixels=64))
    path = tmp_path / "large.png"
    path.write_bytes(PNG + bytes(200))
    for value in (str(path), data_url(bytes(200), "image/png")):
        with pytest.raises(isc.MediaError, match="is larger than 100 bytes"):
            processor.measured(part(value))
    with pytest.raises(isc.MediaError, match="has more than the 64 pixels that are read: 64 x 48"):
        processor.measured(part(PNG))


def test_a_resolver_that_raises_is_told(processor: ImageProcessor) -> None:
    def resolve(reference: str) -> object:
        raise TimeoutError(f"no answer from {reference}")

    processor = ImageProcessor.from_config(QWEN3_VL, resolve_media=resolve)
    with pytest.raises(isc.MediaError, match="resolve_media raised TimeoutError: no answer"):
        processor.measured(part("a.png"))


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
    measured = [processor.measured(part(value)) for value in (PNG, str(path), data_url(PNG, "image/png"))]
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
    measured = processor.measured(part(str(path)))
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
