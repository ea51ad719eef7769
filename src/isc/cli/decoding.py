"""`isc decode`: ids back to text, and each of them by itself, specials named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.cells import chop_cells
from rich.text import Text

from isc.build.conversations import InputError
from isc.build.conversations import decoded as json_value
from isc.build.sources import STDIN, named, opened
from isc.cli import Exit
from isc.cli.arguments import File, console
from isc.cli.commands import app
from isc.cli.formats import EMBEDDED, EMBEDDED_NOTICE, vocabulary
from isc.encoding.base import Encoder
from isc.errors import OptionError
from isc.rendered import check_ids, decoded
from isc.viewer.texts import legible, token_texts

_KEYS = ("token_ids", "input_ids", "prompt_ids", "completion_ids")
_NUMBERS = re.compile(r"\[?[\d\s,]*\]?")


@app.command
def decode(*ids: File, family: str | None = None, model: str | None = None) -> int:
    """Decode token ids: what they say, and each token with its id, specials marked.

    Bytes that are no whole character, and ids that the vocabulary does not have, stand as U+FFFD in the text.

    For example:

    ```
    isc decode 7473 1206 198 --family qwen3
    isc render examples/chat.json --family qwen3 | isc decode - --family qwen3
    ```

    Args:
        ids: Ids, apart or joined by commas; or a file of them: numbers, a JSON list, or an object that has them as
            token_ids, input_ids, prompt_ids or completion_ids, such as a line of `isc render`. `-` is standard input.
        family: Chat format, whose specials isc's own small vocabulary then has.
        model: The model whose vocabulary is used: hub id, or directory.
    """
    if not ids:
        raise OptionError("isc decode: give ids, a file of them, or - for standard input")
    encoder, name = vocabulary(family, model)
    token_ids = tuple(token_id for word in ids for token_id in _ids(word))
    check_ids(token_ids)
    output = console()
    output.print(EMBEDDED_NOTICE if name == EMBEDDED else f"ids are of {name}", soft_wrap=True)
    output.print("", legible(decoded(encoder, token_ids)), "", sep="\n", soft_wrap=True)
    for line in _lines(token_ids, encoder, output.width):
        output.print(line, soft_wrap=True)
    return Exit.OK


def _ids(word: str) -> Sequence[int]:
    """Return the ids that a word of the command line gives, or that are in the file of this name."""
    if word != STDIN and _NUMBERS.fullmatch(word):
        return [int(number) for number in re.findall(r"\d+", word)]
    with opened(word) as stream:
        content = stream.readline() if word == STDIN else stream.read()
    if re.fullmatch(rb"[\d\s,]*", content):
        return [int(number) for number in re.findall(rb"\d+", content)]
    value = json_value(content)
    if isinstance(value, dict):
        key = next((key for key in _KEYS if key in value), None)
        value = value.get(key)
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise InputError(f"{named(word)}: ids are numbers, a list of them, or an object with {' or '.join(_KEYS)}")
    return value


def _lines(token_ids: Sequence[int], encoder: Encoder, width: int) -> Iterator[Text]:
    """Yield one line a token: position, id, whether it is a special, and its text."""
    yield Text(f"{'token':>7} {'id':>7}  {'':<7}  text", style="bold")
    specials = frozenset(encoder.specials.values())
    for position, (token_id, text) in enumerate(zip(token_ids, token_texts(token_ids, encoder), strict=True)):
        is_special = token_id in specials
        kind = "special" if is_special else "" if text or encoder.decode_bytes((token_id,)) else "unknown"
        head = f"{position:>7} {token_id:>7}  {kind:<7}  "
        first, *rest = chop_cells(text, max(8, width - len(head))) or [""]
        yield Text(head).append(first, "bold" if is_special else "")
        yield from (Text(" " * len(head) + more) for more in rest)
