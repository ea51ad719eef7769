"""Images of Kimi, MiniMax-M3 and Inkling, whose processors transformers has in torch only: counts, blocks, refusals.

Counts are held to the processors' own functions, which need no torch, run from transformers' source; what is not a
function of its own is literal, recorded from transformers 5.24.0 with torch 2.13.0 and torchvision 0.28.0: the
`num_patches` of `InklingImageProcessor` for a black image of that size. In the same way pixel values and grids of
`ImageProcessor.arrays` were found equal to those of the three processors, on 15 to 40 images each.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isc
from golden_conversations import assistant, call, system, tool, user
from image_files import INKLING, MINIMAX_M3, QWEN3_VL, part, picture
from isc.encoding.encoders import embedded
from isc.formats.kimi_k3 import KimiK3
from isc.media import FixedPlaceholders, ImageProcessor, InklingImages, KimiImages, image_processor
from isc.media.settings import image_settings
from isc.types import MediaPart
from ports import port_text
from torchless import torchless

KIMI: dict[str, Any] = {"image_processor_type": "Kimi_K25ImageProcessor"}
TIGHT = {**KIMI, "max_patches": 256, "size": {"max_height": 32, "max_width": 32}}
SAYS = {"type": "text", "text": "Look"}
SHOWN = {"type": "image", "hash": "9f86", "width": 100, "height": 50}


def sizes(n: int, most: float) -> list[tuple[int, int]]:
    """Tiny, huge and extreme sizes, their logarithms evenly spread."""
    source = random.Random(0)
    return [(int(2 ** source.uniform(0, most)), int(2 ** source.uniform(0, most))) for _ in range(n)]


@pytest.mark.parametrize("config", [KIMI, TIGHT], ids=["as-published", "tight"])
def test_kimi_s_counts_are_the_processor_s_own(config: dict[str, Any]) -> None:
    settings = KimiImages.of(config)
    for width, height in sizes(1000, 14):
        scaled, (high, wide) = torchless("kimi_k25", "navit_resize")(
            height, width, 14, 2, settings.max_patches, settings.max_patches_per_side
        )
        assert settings.resized(width, height) == scaled[::-1]
        assert settings.count(width, height) == (high // 14) * (wide // 14) // 4


@pytest.mark.parametrize(
    ("config", "bounds"),
    [(MINIMAX_M3, (3136, 451584)), ({**MINIMAX_M3, "min_pixels": 10_000, "max_pixels": 90_000}, (10_000, 90_000))],
)
def test_minimax_s_counts_are_the_processor_s_own(config: dict[str, Any], bounds: tuple[int, int]) -> None:
    settings = image_settings(config)
    assert settings is not None
    refused = 0
    for width, height in sizes(1000, 14):
        try:
            high, wide = torchless("minimax_m3_vl", "smart_resize")(height, width, 28, *bounds)
        except ValueError:
            refused += 1
            with pytest.raises(isc.OptionError, match=f"{width} x {height}"):
                settings.count(width, height)
            continue
        assert settings.count(width, height) == high * wide // 28**2
    assert 0 < refused < 500


@pytest.mark.parametrize("patch", [40, 16])
def test_inkling_s_counts_are_the_processor_s_own(patch: int) -> None:
    settings = InklingImages(patch)
    for width, height in (*sizes(600, 9.5), (patch, patch), (2 * patch, 1)):
        image = np.broadcast_to(np.uint8(0), (3, height, width))
        assert settings.count(width, height) == len(torchless("inkling", "divide_to_patches")(image, patch))


RECORDED: list[tuple[float, int | None, dict[tuple[int, int], int | None]]] = [
    (2.0, 2048, {(275, 155): 112, (2, 281): 15, (4, 1): 1, (40, 40): 6, (640, 480): 792, (639, 481): 800,
                 (2000, 1000): 1352, (3000, 41): 152}),
    (0.37, 2048, {(275, 155): 6, (579, 548): 36, (4, 1): None, (40, 40): 1, (639, 481): 30, (2000, 1000): 190,
                  (3000, 41): 28}),
    (1.7, 300, {(275, 155): 40, (579, 548): 210, (40, 40): 4, (2000, 1000): 1275, (3000, 41): 152}),
]  # fmt: skip


@pytest.mark.parametrize(("scale", "longest", "counts"), RECORDED)
def test_inkling_s_counts_of_images_that_are_scaled(
    scale: float, longest: int | None, counts: dict[tuple[int, int], int | None]
) -> None:
    settings = InklingImages(40, scale, longest)
    for size, count in counts.items():
        if count is None:
            with pytest.raises(isc.OptionError, match="4 x 1 pixels has nothing left of one edge"):
                settings.count(*size)
        else:
            assert settings.count(*size) == count


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({**MINIMAX_M3, "size": [448, 448]}, "size must hold shortest_edge and longest_edge"),
        ({**MINIMAX_M3, "size": {"shortest_edge": 9}}, "max_pixels must be a positive integer"),
        ({**KIMI, "size": {"max_height": 512, "max_width": 256}}, "max_height and max_width, the same"),
        ({**KIMI, "max_patches": -1}, "max_patches must be a positive integer"),
        ({**INKLING, "size": {"height": 40, "width": 20}}, "patches must be squares"),
        ({**INKLING, "size": 40}, "patches must be squares"),
        ({**INKLING, "rescale_image_frac": "2"}, "rescale_image_frac must be a positive number"),
        ({**INKLING, "rescale_image_frac": 0}, "rescale_image_frac must be a positive number"),
        ({**INKLING, "rescale_image_max_upscaled_long_edge": 0}, "rescale_image_max_upscaled_long_edge"),
    ],
)
def test_an_impossible_setting_is_named(config: dict[str, Any], named: str) -> None:
    with pytest.raises(isc.OptionError, match=named):
        image_settings(config)


@pytest.mark.parametrize(
    ("config", "module"),
    [(MINIMAX_M3, "minimax_m3_vl"), (KIMI, "kimi_k25"), (INKLING, "inkling")],
    ids=["minimax", "kimi", "inkling"],
)
def test_pixel_values_say_that_they_need_torch(
    config: dict[str, Any], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"transformers.models.{module}.image_processing_{module}", None)
    images = ImageProcessor.from_config(config)
    measured = images.measured(part(picture(64, 48)))
    with pytest.raises(isc.LoadError, match=r"need torch, torchvision .*; pip install isc\[images\] torch torchvision"):
        images.arrays(measured)


def test_what_a_processor_made_is_held_to_the_placeholders() -> None:
    grid = {"image_grid_thw": np.array([[1, 4, 8]])}
    for settings, arrays, count in (
        (KimiImages(), grid, 8),
        (image_settings(MINIMAX_M3), grid, 8),
        (InklingImages(), {"num_patches": np.array([6])}, 6),
    ):
        assert settings is not None
        assert settings.count_of(arrays) == count
    images = ImageProcessor(InklingImages(), lambda _: {"num_patches": np.array([3])})
    with pytest.raises(isc.MediaError, match="has 4 placeholders, but the processor made 3 of it"):
        images.arrays(images.measured(part(picture(64, 48))))


def test_a_size_that_somebody_tells_cannot_fill_the_memory() -> None:
    images = ImageProcessor(InklingImages())
    with pytest.raises(isc.MediaError, match=r"would take .* tokens, more than 1048576; scale it down"):
        images.measured(MediaPart("image", {}, hash="ab", width=2**31 - 1, height=2**31 - 1))


def rendered(family: isc.Family, messages: list[dict[str, Any]], images: ImageProcessor | None = None) -> str:
    renderer = isc.create_renderer(embedded(family.specials), family, images=images)
    return "".join(segment.text * segment.repeat for segment in renderer.segments(messages))


def test_kimi_has_one_placeholder_an_image_or_as_many_as_transformers_counts() -> None:
    family = isc.KimiK25()
    assert rendered(family, [user([SHOWN])]).count("<|media_pad|>") == 1
    for images in (ImageProcessor(KimiImages()), image_processor(KIMI, family)):
        text = rendered(family, [user([SHOWN, SAYS])], images)
        assert f"<|media_content|>{'<|media_pad|>' * 8}<|media_end|>\nLook" in text
    chosen = image_processor({"auto_map": {}, "media_proc_cfg": {}}, family)
    assert chosen is not None
    assert chosen.settings == FixedPlaceholders(1)


def test_k3_heads_the_block_of_an_image_with_its_size() -> None:
    family = KimiK3(thinking_effort=None)
    block = "<|media_begin|>image 100x50<|media_content|><|media_pad|><|media_end|>"
    end = "<|close|>message<|sep|><|end_of_msg|>"
    renderer = isc.create_renderer(embedded(family.specials), family)
    messages = [user([SAYS, SHOWN])]
    assert rendered(family, messages) == f'<|open|>message role="user"<|sep|>Look{block}{end}'
    assert [segment.text for segment in renderer.segments(messages) if segment.body] == ["Look", "<|media_pad|>"]
    many = rendered(family, messages, ImageProcessor(KimiImages()))
    assert many.count("<|media_pad|>") == 8
    data = renderer.render(messages).multi_modal_data
    assert data is not None
    assert [place.length for place in data.placeholders["image"]] == [1]


def test_k3_s_port_shows_images_in_the_same_places(reference: Path) -> None:
    other = {**SHOWN, "hash": "ab", "width": 7, "height": 9}
    results = [tool([other, SAYS], "2"), tool([SHOWN], "1")]
    messages = [
        user([SHOWN, SAYS, other]), assistant("", call("f", {}, "1"), call("g", {}, "2")), *results, user([other])
    ]  # fmt: skip
    shown = (SHOWN, other, SHOWN, other, other)  # results stand in the order of their calls
    blocks = [
        f"<|media_begin|>image {one['width']}x{one['height']}<|media_content|><|media_pad|><|media_end|>"
        for one in shown
    ]
    path = reference / "templates" / "moonshotai--Kimi-K3" / "chat_template.llama-cpp.jinja"
    ported = port_text(path, (messages, None), asks=False, thinking=True, thinking_effort="max", image_prompts=blocks)
    assert rendered(KimiK3(), messages) == ported


def test_minimax_s_processor_writes_marks_around_an_image() -> None:
    images = ImageProcessor.from_config(MINIMAX_M3)
    family = isc.MiniMaxM3()
    pads = "]<]start of image[>[" + "]<]image[>[" * 8 + "]<]end of image[>["
    assert rendered(family, [user([SHOWN, SAYS])], images).endswith(f"]~b]user\n{pads}Look[e~[\n")
    called = [user("?"), assistant("", call("f", {})), tool([SAYS, SHOWN])]
    assert rendered(family, called, images).endswith(f"]~b]tool\n<response>Look{pads}</response>[e~[\n")
    source = "{% for m in messages %}]~b]{{ m.role }}\n{% for part in m.content %}{{ part.text if part.type == 'text' "
    source += "else ']<]image[>[' }}{% endfor %}[e~[\n{% endfor %}"
    traced = isc.template.TracedTemplate(source=source, specials=family.specials)
    assert rendered(traced, [user([SHOWN, SAYS])], images) == f"]~b]user\n{pads}Look[e~[\n"
    renderer = isc.create_renderer(embedded(family.specials), family, images=images)
    assert [s.text for s in renderer.segments([user([SHOWN])]) if s.body] == ["]<]image[>["]


def test_an_image_is_a_message_of_inkling_s_own() -> None:
    images = ImageProcessor.from_config(INKLING)
    shown = rendered(isc.Inkling(), [user([SAYS, SHOWN])], images)
    pads = "<|unused_200054|>" * 6
    text = "<|message_user|><|content_text|>Look<|end_message|>"
    assert shown.endswith(f"{text}<|message_user|><|content_image|>{pads}<|end_message|>")


@pytest.mark.parametrize(
    ("family", "index"), [(KimiK3(), 0), (KimiK3(), 2), (isc.MiniMaxM3(), 0), (isc.Inkling(), 0), (isc.Inkling(), 2)]
)
def test_only_users_and_some_tools_show_images(family: isc.Family, index: int) -> None:
    messages: list[dict[str, Any]] = [system("s"), user("a"), assistant("b")]
    messages[index] = {**messages[index], "content": [SAYS, SHOWN]}
    with pytest.raises(isc.ConversationError, match="takes text only") as error:
        rendered(family, messages, ImageProcessor.from_config(QWEN3_VL))
    assert error.value.path == f"messages[{index}].content[1]"
