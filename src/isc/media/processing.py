"""What a model's own image processor makes of an image: pixel values and grids, by transformers' NumPy processors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from msgspec import Struct

from isc._later import Later
from isc.errors import LoadError
from isc.media.settings import PixtralImages, processor_name

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image
else:
    numpy = Image = Later

Process: TypeAlias = Callable[[Image], Mapping[str, numpy.ndarray[Any, Any]]]
"""An upright RGB image to arrays by name, with one row or one row of patches for it."""


class _TransformersProcess(Struct, frozen=True, dict=True):
    """A processor of transformers with the settings of a `preprocessor_config.json`."""

    config: Mapping[str, Any]

    needs: ClassVar[str] = "transformers and Pillow"
    package: ClassVar[str] = "isc[images]"

    @staticmethod
    @abstractmethod
    def kind() -> Any:  # noqa: ANN401 - untyped in transformers
        """Return the class of the processor, imported when the first image comes."""

    def given(self) -> dict[str, Any]:
        """Return the settings as the processor takes them."""
        return dict(self.config)

    @cached_property
    def _processor(self) -> Any:  # noqa: ANN401 - untyped in transformers
        try:
            return self.kind().from_dict(self.given())
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise LoadError(f"pixel values need {self.needs} ({reason}); pip install {self.package}") from error

    def __call__(self, image: Image) -> Mapping[str, numpy.ndarray[Any, Any]]:
        """Return the arrays of one image."""
        return dict(self._processor(images=[image], return_tensors="np"))


class QwenProcess(_TransformersProcess, frozen=True):
    """Qwen-VL's processor with the settings of a `preprocessor_config.json`: `pixel_values` and `image_grid_thw`.

    Raises:
        LoadError: On the first image, where transformers or Pillow is not installed.
    """

    @staticmethod
    def kind() -> Any:  # noqa: ANN401 - untyped in transformers
        """Return the processor class that needs NumPy only. Its name differs between transformers 4 and 5."""
        try:
            from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
        except ImportError:
            from transformers import Qwen2VLImageProcessor

            return Qwen2VLImageProcessor
        return Qwen2VLImageProcessorPil


class GemmaProcess(_TransformersProcess, frozen=True):
    """Gemma 4's processor with the settings of a `processor_config.json`: `pixel_values` and where the patches lie.

    Raises:
        LoadError: On the first image, where transformers is not installed or too old, or Pillow is not.
    """

    @staticmethod
    def kind() -> Any:  # noqa: ANN401 - untyped in transformers
        """Return the processor class that needs NumPy only."""
        from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

        return Gemma4ImageProcessorPil


class PixtralProcess(_TransformersProcess, frozen=True):
    """Pixtral's processor with the settings that `PixtralImages.of` reads: `pixel_values` and `image_sizes`.

    Raises:
        LoadError: On the first image, where transformers or Pillow is not installed.
    """

    @staticmethod
    def kind() -> Any:  # noqa: ANN401 - untyped in transformers
        """Return the processor class that needs NumPy only. Its name differs between transformers 4 and 5."""
        try:
            from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
        except ImportError:
            from transformers import PixtralImageProcessor

            return PixtralImageProcessor
        return PixtralImageProcessorPil

    def given(self) -> dict[str, Any]:
        """Return the settings with merged patches for patches, as transformers' `PixtralProcessor` passes them on."""
        settings = PixtralImages.of(self.config)
        unit = settings.patch_size * settings.spatial_merge_size
        return {**self.config, "patch_size": {"height": unit, "width": unit}}


class _TorchProcess(_TransformersProcess, frozen=True):
    """A processor that transformers has in torch only.

    Raises:
        LoadError: On the first image, where transformers is not installed or too old, or torch and torchvision are not.
    """

    needs: ClassVar[str] = "torch, torchvision and a transformers that has the processor"
    package: ClassVar[str] = "isc[images] torch torchvision"

    def __call__(self, image: Image) -> Mapping[str, numpy.ndarray[Any, Any]]:
        """Return the arrays of one image."""
        made = self._processor(images=[image], return_tensors="pt")
        return {name: values.numpy() for name, values in made.items()}


class MiniMaxProcess(_TorchProcess, frozen=True):
    """MiniMax-M3's processor: `pixel_values` and `image_grid_thw`. It needs torch and torchvision.

    Raises:
        LoadError: On the first image, where something is missing.
    """

    @staticmethod
    def kind() -> Any:  # noqa: ANN401 - untyped in transformers
        """Return the processor class."""
        from transformers.models.minimax_m3_vl.image_processing_minimax_m3_vl import MiniMaxM3VLImageProcessor

        return MiniMaxM3VLImageProcessor


class KimiProcess(_TorchProcess, frozen=True):
    """The processor that transformers has for Kimi K2.5: `pixel_values` and `image_grid_thw`. It needs torch.

    Raises:
        LoadError: On the first image, where something is missing.
    """

    @staticmethod
    def kind() -> Any:  # noqa: ANN401 - untyped in transformers
        """Return the processor class."""
        from transformers.models.kimi_k25.image_processing_kimi_k25 import Kimi_K25ImageProcessor

        return Kimi_K25ImageProcessor


class InklingProcess(_TorchProcess, frozen=True):
    """Inkling's processor: `pixel_values` and `num_patches`. It needs torch and torchvision.

    Raises:
        LoadError: On the first image, where something is missing.
    """

    @staticmethod
    def kind() -> Any:  # noqa: ANN401 - untyped in transformers
        """Return the processor class."""
        from transformers.models.inkling.image_processing_inkling import InklingImageProcessor

        return InklingImageProcessor


_PROCESSES: Final[Mapping[str, type[_TransformersProcess]]] = {
    "Qwen2VLImageProcessor": QwenProcess,
    "Gemma4ImageProcessor": GemmaProcess,
    "PixtralImageProcessor": PixtralProcess,
    "MiniMaxM3VLImageProcessor": MiniMaxProcess,
    "Kimi_K25ImageProcessor": KimiProcess,
    "InklingImageProcessor": InklingProcess,
}


def process_of(config: Mapping[str, Any]) -> Process:
    """Return what makes the arrays of the processor of a configuration, which is one that isc knows."""
    return _PROCESSES[processor_name(config)](config)
