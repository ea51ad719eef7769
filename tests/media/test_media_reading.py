"""Images: every way to give one, every way one can be bad."""

from __future__ import annotations

import base64
import struct
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

import isc
from image_files import JPEG, PNG, QWEN3_VL, data_url, encoded, lazy, part, picture
from isc.media import FixedPlaceholders, ImageProcessor, Limits

TURN_LEFT = Image.Exif()
TURN_LEFT[0x0112] = 6  # what is up lies to the right


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
        ("image", path, str(path)),
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
    "no file": (Path("/no/such/cat.png"), "cannot be read: No such file or directory .got '/no/such/cat.png'."),
    "a device": (Path("/dev/zero"), "cannot be read: is not a regular file"),
    "a directory": (Path("/tmp"), "cannot be read: Is a directory|is not a regular file"),
    "a null byte": (Path("a\0b.png"), "cannot be read: embedded null byte"),
    "a URL": ("https://example.org/cat.png", "is no data URL, and a text opens no file and no address: pass local_fil"),
    "a surrogate": ("\ud800", "is no Unicode text"),
    "a surrogate in a data URL": ("data:,\udc80", "is no Unicode text"),
    "an unfinished data URL": ("data:image/png;base64", "is no data URL"),
    "a number": (7, "must be bytes, a Path, a data URL, a PIL image"),
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
    for value in (path, path.read_bytes(), data_url(bytes(200), "image/png"), "data:image/png," + "a" * 101):
        with pytest.raises(isc.MediaError, match="is larger than 100 bytes"):
            processor.measured(part(value))
    processor = ImageProcessor(FixedPlaceholders(1), limits=Limits(pixels=64))
    with pytest.raises(isc.MediaError, match="has more than the 64 pixels that are read: 64 x 48"):
        processor.measured(part(PNG))


def test_a_resolver_that_raises_is_told(processor: ImageProcessor) -> None:
    def resolve(reference: str) -> object:
        raise TimeoutError(f"no answer from {reference}")

    processor = ImageProcessor.from_config(QWEN3_VL, resolve_media=resolve)
    with pytest.raises(isc.MediaError, match="resolve_media raised TimeoutError: no answer"):
        processor.measured(part("a.png"))


def test_without_pillow_the_error_says_what_to_install(
    processor: ImageProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(isc.LoadError, match=r"pip install isc\[images\]"):
        processor.measured(part(PNG))
