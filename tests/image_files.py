"""Images for tests, and the settings that vision models publish in `preprocessor_config.json`."""

from __future__ import annotations

import base64
import io
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

import isc
from torchless import torchless

QWEN2_VL: dict[str, Any] = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
QWEN3_VL: dict[str, Any] = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


GEMMA4: dict[str, Any] = {
    "image_processor_type": "Gemma4ImageProcessor",
    "patch_size": 16,
    "pooling_kernel_size": 3,
    "max_soft_tokens": 280,
    "do_normalize": False,
    "image_mean": [0.0, 0.0, 0.0],
    "image_std": [1.0, 1.0, 1.0],
}


PIXTRAL: dict[str, Any] = {
    "image_processor_type": "PixtralImageProcessorFast",
    "patch_size": 14,
    "spatial_merge_size": 2,
    "size": {"longest_edge": 1540},
}


MINIMAX_M3: dict[str, Any] = {"image_processor_type": "MiniMaxM3VLImageProcessor", "size": [672, 672]}
INKLING: dict[str, Any] = {"image_processor_type": "InklingImageProcessor"}


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """An image of that size whose pixels the seed says."""
    small = Image.frombytes("RGB", (4, 4), random.Random(seed).randbytes(48))
    return small.resize((width, height), Image.Resampling.BILINEAR).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own
    """An image as a file's bytes."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def images_of(messages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The image parts of messages, in order."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            yield from (part for part in content if part.get("type") == "image")


def expanded(text: str, messages: Iterable[Mapping[str, Any]], config: Mapping[str, Any]) -> str:
    """A template's text as the model's processor hands it to the tokenizer: a placeholder for every token."""
    placeholder, shown = EXPANDED[config["image_processor_type"]]
    images = iter([shown(part["width"], part["height"], config) for part in images_of(messages)])
    return re.sub(re.escape(placeholder), lambda _: next(images), text)


def _by_qwen(width: int, height: int, config: Mapping[str, Any]) -> str:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    patches = Qwen2VLImageProcessorPil.from_dict(dict(config)).get_number_of_image_patches(height, width)
    count: int = patches // config["merge_size"] ** 2
    return "<|image_pad|>" * count


def _by_gemma(width: int, height: int, config: Mapping[str, Any]) -> str:
    """Gemma 4's processor writes the marks around them too."""
    from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size

    patch, pool = config["patch_size"], config["pooling_kernel_size"]
    most = config["max_soft_tokens"] * pool**2
    high, wide = get_aspect_ratio_preserving_size(height, width, patch, most, pool)
    return f"<|image>{'<|image|>' * ((high // patch) * (wide // patch) // pool**2)}<image|>"


def _by_pixtral(width: int, height: int, config: Mapping[str, Any]) -> str:
    """Mistral's processor ends each row."""
    columns, rows = pixtral_grid(width, height, config)
    return "[IMG_BREAK]".join(["[IMG]" * columns] * rows) + "[IMG_END]"


def pixtral_grid(width: int, height: int, config: Mapping[str, Any]) -> tuple[int, int]:
    """What transformers makes of a size: merged patches in a row, and rows."""
    from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size

    unit = config["patch_size"] * config["spatial_merge_size"]
    empty = np.broadcast_to(np.uint8(0), (3, height, width))
    high, wide = get_resize_output_image_size(empty, config["size"]["longest_edge"], unit, "channels_first")
    return wide // unit, high // unit


def _by_minimax(width: int, height: int, config: Mapping[str, Any]) -> str:
    """MiniMax-M3's processor, whose defaults hold, writes the marks around them too."""
    del config
    high, wide = torchless("minimax_m3_vl", "smart_resize")(height, width, 28, 3136, 451584)
    return f"]<]start of image[>[{']<]image[>[' * (high // 28 * wide // 28)}]<]end of image[>["


def _by_inkling(width: int, height: int, config: Mapping[str, Any]) -> str:
    """Inkling's processor, whose defaults hold, cuts an image as it is."""
    del config
    empty = np.broadcast_to(np.uint8(0), (3, height, width))
    return "<|unused_200054|>" * len(torchless("inkling", "divide_to_patches")(empty, 40))


EXPANDED: dict[str, tuple[str, Callable[[int, int, Mapping[str, Any]], str]]] = {
    QWEN2_VL["image_processor_type"]: ("<|image_pad|>", _by_qwen),
    QWEN3_VL["image_processor_type"]: ("<|image_pad|>", _by_qwen),
    GEMMA4["image_processor_type"]: ("<|image|>", _by_gemma),
    PIXTRAL["image_processor_type"]: ("[IMG]", _by_pixtral),
    MINIMAX_M3["image_processor_type"]: ("]<]image[>[", _by_minimax),
    INKLING["image_processor_type"]: ("<|unused_200054|>", _by_inkling),
}
"""The placeholder of each processor's templates, and what it makes of an image's size."""


def lazy(content: bytes) -> Image.Image:
    """A PIL image that is not decoded yet."""
    return Image.open(io.BytesIO(content))


def data_url(content: bytes, kind: str) -> str:
    """Bytes as a data URL of that type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def part(value: object, key: str = "image") -> isc.MediaPart:
    """An image part as an unchecked caller gives it."""
    return isc.MediaPart("image", {"type": "image", key: value})  # type: ignore[dict-item]  # untrusted on purpose


PNG = encoded(picture(64, 48))
JPEG = encoded(picture(64, 48), "JPEG")
