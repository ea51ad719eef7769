"""Token ids as text for people: whatever is invisible made visible, characters spread over tokens shown as bytes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from isc.rendered import Decoder

END, TRAINED_END, OPEN, CLOSE = "│", "┃", "⟦", "⟧"
SPACE, NEWLINE, TAB, RETURN, NO_BASE = "·", "↵", "→", "␍", "◌"
NOTE_OPEN, NOTE_CLOSE = "⟨", "⟩"

_MARKS = frozenset((END, TRAINED_END, OPEN, CLOSE, SPACE, NEWLINE, TAB, RETURN, NO_BASE, NOTE_OPEN, NOTE_CLOSE))
_VISIBLE = {" ": SPACE, "\n": NEWLINE, "\t": TAB, "\r": RETURN}
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)
_LONGEST_CHARACTER = 4


@lru_cache(maxsize=8192)
def visible(character: str) -> str:
    r"""Return a character as it is shown: itself, a sign for white space, or its code point in angle brackets.

    >>> visible("a"), visible(" "), visible("\u200b")
    ('a', '·', '⟨U+200B⟩')
    """
    if character in _VISIBLE:
        return _VISIBLE[character]
    if "\ud800" <= character <= "\udfff":
        return _note(character.encode("utf-8", "surrogateescape"))
    if not character.isprintable() or character in _MARKS or ord(character) in _VARIATION_SELECTORS:
        return f"{NOTE_OPEN}U+{ord(character):04X}{NOTE_CLOSE}"
    return character


def legible(text: str) -> str:
    r"""Return a text that any screen can show: white space as it is, what else cannot be seen by its code point.

    >>> legible("a b\n\x1b")
    'a b\n⟨U+001B⟩'
    """
    return "".join(character if character in " \n\t" else visible(character) for character in text)


def _note(part: bytes, complete: str = "") -> str:
    """Return a note of the bytes that a token has of a character. The token that completes the character names it."""
    return f"{NOTE_OPEN}{part.hex(' ').upper()}{f'={complete}' if complete else ''}{NOTE_CLOSE}"


def token_texts(token_ids: Sequence[int], decoder: Decoder) -> list[str]:
    """Return the visible text of each token. A character spread over tokens is shown as its bytes in each."""
    pieces = [decoder.decode_bytes((token_id,)) for token_id in token_ids]
    ends = list(accumulate(map(len, pieces)))
    shown = [""] * len(pieces)
    token = position = 0
    for character in b"".join(pieces).decode("utf-8", "surrogateescape"):
        rest = character.encode("utf-8", "surrogateescape")
        while ends[token] <= position:
            token += 1
        if position + len(rest) <= ends[token]:
            shown[token] += _joined(shown[token], character)
            position += len(rest)
            continue
        while rest:
            while ends[token] <= position:
                token += 1
            part, rest = rest[: ends[token] - position], rest[ends[token] - position :]
            position += len(part)
            shown[token] += _note(part, "" if rest else visible(character))
    return shown


def _joined(before: str, character: str) -> str:
    """Return a character to append to a token's text. A combining mark without a letter before it gets a circle."""
    text = visible(character)
    if text == character and unicodedata.category(character)[0] == "M" and before[-1:] in ("", *_MARKS):
        return NO_BASE + text
    return text


def completed_characters(pieces: Sequence[bytes]) -> dict[int, str]:
    r"""Return by position the tokens whose first bytes complete a character of tokens before, with that character.

    >>> completed_characters([b"a\xc3", b"\xa9t", b"\xa9"])
    {1: 'é'}
    """
    completed: dict[int, str] = {}
    for position, piece in enumerate(pieces):
        if piece and 0x80 <= piece[0] < 0xC0:
            before = b"".join(pieces[max(0, position - _LONGEST_CHARACTER + 1) : position])
            character = _completed(before, piece)
            if character:
                completed[position] = character
    return completed


def _completed(before: bytes, piece: bytes) -> str:
    """Return the character that begins in `before` and ends in `piece`, or nothing."""
    for length in range(1, min(len(before), _LONGEST_CHARACTER - 1) + 1):
        start = before[-length:]
        if start[0] >= 0xC0:
            size = 2 if start[0] < 0xE0 else 3 if start[0] < 0xF0 else 4
            character = (start + piece[: max(0, size - length)]).decode("utf-8", "ignore")
            return character if len(character) == 1 else ""
    return ""
