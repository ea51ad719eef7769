"""Encoders of the tokenizers that a caller holds: a tokenizer that is asked for again is not written out and compared.

A tokenizer can be changed where it lies. So it is asked for what decides its ids, which takes no time beside its text:
added tokens, the states of its steps, the settings of its model, tokens here and there, and what becomes of a probe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from isc.encoding.base import Encoder

State: TypeAlias = tuple[object, ...]

_KEPT = 4
_SPREAD = 256  # tokens that are compared besides, evenly spread
_PROBE = "The" + chr(0x120) + "quickbrownfox,It's1234567890--don't!(){}[];return" + chr(0x10A) + "self.token_ids"
_SETTINGS = (
    *("byte_fallback", "continuing_subword_prefix", "dropout", "end_of_word_suffix", "fuse_unk", "ignore_merges"),
    *("unk_token", "unk_id", "max_input_chars_per_word"),
)


class HeldEncoders:
    """The encoders of the last few tokenizers. One that is gone takes its encoder along."""

    def __init__(self) -> None:
        self._encoders: WeakKeyDictionary[object, tuple[State, Encoder]] = WeakKeyDictionary()

    def get(self, tokenizer: object, state: State | None, make: Callable[[], Encoder]) -> Encoder:
        """Return the encoder of a tokenizer, made anew if it is not known, or not in this state."""
        if state is None:
            return make()
        known = self._encoders.get(tokenizer)
        if known is not None and known[0] == state:
            return known[1]
        encoder = make()
        self._encoders.pop(tokenizer, None)
        self._encoders[tokenizer] = (state, encoder)
        for oldest in list(self._encoders)[:-_KEPT]:
            self._encoders.pop(oldest, None)
        return encoder


def state_of(backend: Any) -> State | None:  # noqa: ANN401 - a `tokenizers.Tokenizer`
    """Return what decides the ids of a tokenizer; None for one that does not tell."""
    try:
        model, size = backend.model, backend.get_vocab_size()
        steps = (backend.normalizer, backend.pre_tokenizer, backend.decoder)
        return (
            size,
            tuple(None if step is None else step.__getstate__() for step in steps),
            tuple(sorted((number, repr(token)) for number, token in backend.get_added_tokens_decoder().items())),
            (type(model).__name__, *(getattr(model, name, None) for name in _SETTINGS)),
            tuple((piece.id, piece.value) for piece in model.tokenize(_PROBE)),
            tuple(model.id_to_token(number) for number in range(0, size, size // _SPREAD + 1)),
        )
    except Exception:  # whatever another version of the package does: the tokenizer is written out and compared
        return None
