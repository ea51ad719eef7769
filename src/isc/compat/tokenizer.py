"""`load_tokenizer` of `renderers`: a model's tokenizer without transformers, and without the model's own code."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from isc import loading
from isc._sources import DEFAULT, Source
from isc.compat.models import TOKENIZER_SOURCE_OVERRIDES
from isc.encoding.base import Encoder
from isc.encoding.encoders import as_encoder
from isc.encoding.fold import fold
from isc.errors import OptionError
from isc.formats.segments import scaffold


class LoadedTokenizer(Struct, frozen=True):
    """What `create_renderer` needs of a tokenizer, and text to ids and back.

    Whatever else it is asked for (`apply_chat_template`, `pad`, `save_pretrained`) is that of transformers' tokenizer
    of the same model, which is loaded then.
    """

    name_or_path: str
    source: Source
    encoder: Encoder

    @property
    def chat_template(self) -> str | dict[str, str] | None:
        """Return the model's chat template; several by their names, as transformers has them."""
        templates = self.source.chat_templates()
        return templates.get(DEFAULT) if templates.keys() <= {DEFAULT} else templates

    @property
    def bos_token(self) -> str | None:
        """Return the special that begins a text, where the model has one."""
        return self.source.special("bos_token") or None

    @property
    def eos_token(self) -> str | None:
        """Return the special that ends a text, where the model has one."""
        return self.source.special("eos_token") or None

    @property
    def eos_token_id(self) -> int | None:
        """Return the id of `eos_token`."""
        return self.encoder.specials.get(self.eos_token or "")

    @property
    def unk_token_id(self) -> int | None:
        """Return None: a byte-level vocabulary has no unknown token."""
        return None

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of a text, in which specials are recognized, as transformers does.

        Raises:
            OptionError: `add_special_tokens`: the format adds them, and a renderer knows which.
        """
        if add_special_tokens:
            raise OptionError("add_special_tokens=True: specials belong to the format; use a renderer")
        return list(fold([scaffold(text)], self.encoder, body_specials="parse").token_ids)

    def decode(self, token_ids: int | Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of ids."""
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        specials = frozenset(self.encoder.specials.values()) if skip_special_tokens else frozenset()
        kept = [token_id for token_id in ids if token_id not in specials]
        return self.encoder.decode_bytes(kept).decode("utf-8", "replace")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever transformers has
        """Return what transformers' tokenizer has under this name.

        Raises:
            AttributeError: It has no such thing, or cannot be loaded.
        """
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            tokenizer = _of_transformers(self.source.name, self.source.revision)
        except Exception as error:  # whatever transformers and the hub run into
            raise AttributeError(
                f"{name}: isc's tokenizer has none, and transformers' does not load: {error}"
            ) from error
        return getattr(tokenizer, name)


@lru_cache(maxsize=4)
def _of_transformers(name: str, revision: str | None) -> Any:  # noqa: ANN401 - an object of another library
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)


_BASIC = ("encode", "decode", "convert_tokens_to_ids")
"""What `renderers` asks of every tokenizer."""


def encoder_of(tokenizer: object) -> Encoder:
    """Return the encoder of a tokenizer, or of what a caller's own class wraps and hands its attributes on from.

    Raises:
        EncoderError: A tokenizer that isc does not know or cannot account for.
    """
    own = None if isinstance(tokenizer, Encoder) else getattr(tokenizer, "encoder", None)
    return own if isinstance(own, Encoder) else as_encoder(tokenizer)


def tells_offsets(tokenizer: object) -> bool:
    """Return whether callers expect content to be told: not with a class of theirs that gives no offsets."""
    if isinstance(tokenizer, LoadedTokenizer) or callable(tokenizer):
        return True
    return not all(hasattr(tokenizer, method) for method in _BASIC)


def load_tokenizer(model_name_or_path: str) -> LoadedTokenizer:
    """Load the tokenizer of a model on the hub or in a directory; never runs remote code.

    Of the models in `TOKENIZER_SOURCE_OVERRIDES`, which are gated, it takes the open copy.

    Raises:
        LoadError: A file is missing or cannot be fetched.
        EncoderError: The tokenizer cannot be accounted for.
    """
    source = TOKENIZER_SOURCE_OVERRIDES.get(model_name_or_path, model_name_or_path)
    return LoadedTokenizer(model_name_or_path, Source(source), loading.load_encoder(source))
