"""Images that an engine is sent as they are, in place of hashes of what it holds."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import isc
from client_calls import sent
from engine_server import SGLANG, only
from isc.client import content_parts
from isc.errors import MediaError, OptionError


def encoded(name: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(file, name)
    return file.getvalue()


def shown(*images: dict[str, Any]) -> list[dict[str, Any]]:
    """A user shows images and speaks of them."""
    return [{"role": "user", "content": [*images, {"type": "text", "text": "What is it?"}]}]


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


GIVEN: dict[str, tuple[dict[str, Any], str]] = {
    "bytes": ({"type": "image", "image": encoded()}, data_url(encoded())),
    "JPEG": ({"type": "image", "image": bytearray(encoded("JPEG"))}, data_url(encoded("JPEG"), "image/jpeg")),
    "a data URL": ({"type": "image_url", "image_url": {"url": data_url(encoded())}}, data_url(encoded())),
    "a URL": ({"type": "image_url", "image_url": {"url": "https://a/b.png"}}, "https://a/b.png"),
    "a PIL image": ({"type": "image", "image": Image.new("RGB", (64, 48), "teal")}, data_url(encoded())),
}


@pytest.mark.parametrize(("part", "url"), GIVEN.values(), ids=GIVEN)
def test_parts_of_messages(part: dict[str, Any], url: str) -> None:
    assert content_parts(shown(part, part)) == ({"type": "image_url", "url": url},) * 2


WRONG: dict[str, object] = {
    "a path": "/etc/passwd", "a home": "~/cat.png", "a file's URL": "file:///etc/passwd",
    "other data": "data:text/html,hi",
    "a Path": Path("/etc/passwd"), "bytes of nothing": b"hello", "nothing": None,
}  # fmt: skip


@pytest.mark.parametrize("image", WRONG.values(), ids=WRONG)
def test_what_is_no_image_is_refused_and_nothing_is_read(image: object) -> None:
    with pytest.raises(MediaError, match=r"messages\[0\]\.content\[1\]") as raised:
        content_parts(shown({"type": "image", "image": encoded()}, {"type": "image", "image": image}))
    assert "root" not in str(raised.value)


def test_images_are_sent_raw_where_that_is_asked_for(vision: isc.Renderer) -> None:
    messages = shown({"type": "image", "image": encoded()})
    parts = content_parts(messages)
    found, requests = sent(vision, messages=messages, content_parts=parts)
    assert requests[-1].body["content_parts"] == [{"type": "image_url", "url": data_url(encoded())}]
    assert "features" not in requests[-1].body
    assert found.multi_modal_data is not None
    assert requests[-1].prompt_ids == [*found.prompt_ids]


def test_images_are_told_by_hash_otherwise(vision: isc.Renderer) -> None:
    _, requests = sent(vision, messages=shown({"type": "image", "image": encoded()}))
    assert "content_parts" not in requests[-1].body
    assert requests[-1].body["features"]["kwargs_data"] is None


def test_one_way_or_the_other(vision: isc.Renderer) -> None:
    messages = shown({"type": "image", "image": encoded()})
    features: dict[str, Any] = {"mm_hashes": {}, "mm_placeholders": {}, "kwargs_data": None}
    with pytest.raises(OptionError, match="exclude each other"):
        sent(vision, messages=messages, features=features, content_parts=content_parts(messages))
    with pytest.raises(OptionError, match="2 content_parts, but the prompt shows 1 images"):
        sent(vision, messages=messages, content_parts=content_parts(messages) * 2)
    with pytest.raises(OptionError, match="goes into extra_body"):
        sent(vision, only(SGLANG, "/server_info"), messages=messages, content_parts=content_parts(messages))
