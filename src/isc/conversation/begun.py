"""Turns that their prompt has begun: a last message left open, a text given in advance.

Such a turn is read as a whole, what the prompt says of it and what was sampled. What was sampled says the rest: the
given text and the rest, put together, are the field of the whole turn. So white space at the start of the rest is
kept, and an opener of reasoning is no opener there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from os.path import commonprefix

from msgspec import Struct
from msgspec.structs import replace

from isc.conversation.bridge import sampled_turn, turn_head
from isc.encoding.base import Encoder
from isc.encoding.fold import unfold
from isc.errors import Error, TemplateError
from isc.formats.base import Family
from isc.formats.reading.events import CallEnded, ContentDelta, ReadingEvent, ReasoningDelta, ReasoningEnded
from isc.formats.reading.grammars import with_text_markers
from isc.formats.reading.scanners import past_head
from isc.types import AssistantMessage, Chat, ParsedResponse, ParsedToolCall, Sampled, Segment, ToolSpec, UserMessage

_LETTER = "x"


class Begun(Struct, frozen=True):
    """What a prompt says of the turn that it asks for.

    `size`: how many ids of the prompt are of the turn. `text`: the text of the field that is open at its end, as it
    stands there. `thinks`: whether that is reasoning. `sizes`: how many characters of the turn's reasoning and content
    the prompt says. `says_all`: whether content holds reasoning too, as in formats that are read raw.
    """

    size: int = 0
    text: str = ""
    thinks: bool = False
    sizes: tuple[int, int] = (0, 0)
    says_all: bool = False

    def rest(self, whole: ParsedResponse) -> ParsedResponse:
        """Return what was sampled of a whole turn."""
        if not self.size:
            return whole
        content, thought = whole.content, whole.reasoning_content
        if self.thinks:
            thought = None if thought is None else self._after(thought, self.sizes[0])
            content = (self._after(content, self.sizes[1]) or "") if self.says_all else content
        elif (said := self._after(content, self.sizes[1])) is not None:
            content, thought = said, None
        elif thought is not None:  # a closer has made reasoning of it
            thought = _after(self.text, thought)
        else:
            content = content[self.sizes[1] :]
        calls = tuple(self.moved(call) for call in whole.tool_calls)
        return ParsedResponse(content, thought, calls, whole.reasoning_complete)

    def _after(self, text: str, size: int) -> str | None:
        """Return what a text says after so many characters of the open text. None: it begins with another."""
        kept = self.text[len(self.text) - size :]
        words = kept.rstrip()
        if not text.startswith(words):
            return _after(self.text, text)
        return text[len(words) + len(commonprefix((kept[len(words) :], text[len(words) :]))) :]

    def sizes_in(self, whole: ParsedResponse) -> tuple[int, int]:
        """Return how many characters of a whole turn's reasoning and content the prompt says."""
        rest = self.rest(whole)
        thoughts = (len(turn.reasoning_content or "") for turn in (whole, rest))
        return next(thoughts) - next(thoughts), len(whole.content) - len(rest.content)

    def sampled(self, told: Sequence[ReadingEvent], sizes: tuple[int, int], *, thinks: bool) -> Iterator[ReadingEvent]:
        """Yield events of a turn without what the prompt says of it.

        Args:
            told: The events.
            sizes: How many characters of reasoning and of content, of those that are told here, the prompt says.
            thinks: Whether reasoning was sampled.
        """
        reasoning, content = sizes
        for event in told:
            match event:
                case ReasoningDelta(text):
                    if len(text) > reasoning:
                        yield ReasoningDelta(text[max(reasoning, 0) :])
                    reasoning -= len(text)
                case ContentDelta(text):
                    if len(text) > content:
                        yield ContentDelta(text[max(content, 0) :])
                    content -= len(text)
                case ReasoningEnded():
                    if thinks:
                        yield event
                case CallEnded(index, call):
                    yield CallEnded(index, self.moved(call))
                case _:
                    yield event

    def moved(self, call: ParsedToolCall) -> ParsedToolCall:
        """Return a call of the whole turn, its tokens counted from the first that was sampled."""
        start, end = call.token_span
        return replace(call, token_span=(max(start - self.size, 0), max(end - self.size, 0))) if self.size else call


def _after(given: str, text: str) -> str | None:
    """Return what a text says after a given one, of whose white space a format may have trimmed. None: it says another.

    >>> _after("  so ", "so  and"), _after(" so ", "so"), _after("so", "then")
    (' and', '', None)
    """
    blank = len(given) - len(given.lstrip())
    for left in range(blank + 1):
        if text.startswith(given[left:]):
            return text[len(given) - left :]
    return "" if given.strip() == text.strip() else None


def begun(family: Family, encoder: Encoder, prompt_ids: Sequence[int], tools: tuple[ToolSpec, ...]) -> Begun:
    """Return what a prompt says of its turn beyond what the format itself prompts.

    Formats whose turns are messages (`turn_start`) read the prompt's part of a turn themselves.
    """
    place = None if family.turn_start is not None else _turn_place(family, encoder, prompt_ids)
    if place is None:
        return Begun()
    given = prompt_ids[place:]
    turn = turn_of(family, encoder, given)
    if not _speaks(family, turn):
        return Begun()
    whole = sampled_turn(family, encoder, prompt_ids[:place], given)
    response = family.parse(whole, tools)
    if family.reasoning is not None:
        turn = with_text_markers(turn, family.reasoning)
    last = turn.segments[-1]
    thinks, thought = not response.reasoning_complete, response.reasoning_content or ""
    said, read = last.text if last.kind == "text" else "", thought if thinks else response.content
    if response.tool_calls or read.strip() not in said:
        return Begun()  # a call has begun: what follows is no text of a field
    if thinks and not thought.strip() and not response.content:
        return Begun()  # a label of reasoning, and white space after it: neither says anything
    text = _open_text(said, read)
    says_all = thinks and bool(response.content)
    longer = family.parse(_with_a_letter(whole), tools) if said else response
    content = _kept(text, longer.content) if says_all or not thinks else 0
    thoughts = _kept(text, longer.reasoning_content or "") if thinks else len(thought)
    return Begun(len(given), text, thinks, (thoughts, content), says_all)


def _with_a_letter(turn: Sampled) -> Sampled:
    """Return a turn that goes on, so that white space at its end is no white space at the end of a text."""
    *before, last = turn.segments
    return replace(turn, segments=(*before, replace(last, text=last.text + _LETTER)))


def _open_text(said: str, read: str) -> str:
    r"""Return the end of a text that is read so, with the white space before it: what stands before that are markers.

    >>> _open_text("</think>\n so ", "so"), _open_text("</think> ", "")
    ('\n so ', ' ')
    """
    place = said.rfind(read.strip()) if read.strip() else len(said.rstrip())
    return said[len(said[: max(place, 0)].rstrip()) :]


def _kept(given: str, longer: str) -> int:
    r"""Return how many characters a format keeps of a given text, of which it reads this with a letter behind it.

    >>> _kept("\n so ", "so x"), _kept("\n\n", "x"), _kept(" so", " sox")
    (3, 0, 3)
    """
    blank = len(given) - len(given.lstrip())
    sizes = (len(given) - left for left in range(blank + 1) if longer.startswith(given[left:] + _LETTER))
    return next(sizes, len(given) - blank)


def turn_of(family: Family, encoder: Encoder, given: Sequence[int]) -> Sampled:
    """Return what the prompt's part of a turn says, past its head."""
    return past_head(unfold(given, encoder), partial(_head, family))


def _turn_place(family: Family, encoder: Encoder, prompt_ids: Sequence[int]) -> int | None:
    """Return where the last turn of a prompt begins, if an assistant's: at its head, or after the last special.

    Other specials than those of the head and around reasoning are of calls or results: after them no text is open, and
    looking further would look at a whole history of calls in one turn.
    """
    head, markers = _head(family), family.reasoning
    within = "".join([*([markers.opener, markers.closer] if markers is not None else ()), *_said_specials(family)])
    names = {token_id: text for text, token_id in encoder.specials.items()}
    wanted = head[0].text if head and head[0].kind == "special" else None
    for place in range(len(prompt_ids) - 1, -1, -1):
        name = names.get(prompt_ids[place])
        if name is None or (name != wanted and name in within):
            continue
        if wanted is None:
            return place + 1
        turn = unfold(prompt_ids[place:], encoder) if name == wanted else None
        return place if turn is not None and past_head(turn, lambda: head) is not turn else None
    return None


@lru_cache(maxsize=64)
def _said_specials(family: Family) -> frozenset[str]:
    """Return the specials of a turn that reasons and says something, and calls nothing: not what ends it."""
    messages = (UserMessage("x"), AssistantMessage("y", reasoning_content="z" if family.has_reasoning else None))
    try:
        turn = tuple(family.conversation(Chat(messages, ())))
    except Error:
        turn = ()
    said = {segment.text for segment in turn if segment.kind == "special" and segment.message == 1}
    return frozenset(said.difference(family.stop_tokens))


def _speaks(family: Family, turn: Sampled) -> bool:
    """Return whether a turn says more than the format's own prompt does."""
    said = {segment.text.strip() for segment in turn.segments if segment.kind == "text"} - {""}
    return bool(said) and not said <= _own_texts(family)


@lru_cache(maxsize=64)
def _head(family: Family) -> tuple[Segment, ...]:
    return turn_head(family)


@lru_cache(maxsize=64)
def _own_texts(family: Family) -> frozenset[str]:
    """Return the texts of the format's own prompt."""
    try:
        prompt = tuple(family.turn_opening())
    except TemplateError:
        return frozenset()
    return frozenset(segment.text.strip() for segment in prompt if segment.kind == "text")
