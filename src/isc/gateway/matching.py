"""Which turn of ours is it that an agent sends back? Found by what messages mean, in one pass over them.

Law: where a history is one that was answered, however it is written again, the match is the turn with whose ids it
goes on, or none. What digests leave out (reasoning, ids) tells turns apart that are otherwise the same; where it is
gone too, the match is refused, unless all that are left have the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal, TypeAlias

from msgspec import Struct

from isc import convert
from isc.convert import Messages, Tools
from isc.gateway.meaning import ReadsKey, digests, nothing_read, opening_digest, said, same_arguments, text_of
from isc.gateway.tree import Difference, Session, Turn
from isc.types import ROLES, AssistantMessage, Message, ToolMessage, ToolSpec

Reason: TypeAlias = Literal["first", "other_conversation", "ambiguous"]

_SHOWN = 60
_BEFORE = 20


class Node(Struct, frozen=True):
    """The turn that a conversation goes on from.

    Attributes:
        turn: Its number.
        messages: How many of the messages its conversation holds, its answer included.
    """

    turn: int
    messages: int


class New(Struct, frozen=True):
    """A conversation that goes on from no turn.

    Attributes:
        reason: `first`: the session has no turn. `other_conversation`: no answer in it is one of ours.
            `ambiguous`: it may go on from several turns with different ids, which only what was dropped could tell.
        detail: The same for a human.
    """

    reason: Reason
    detail: str


def match(tree: Session, messages: Messages, tools: Tools = None, *, reads_key: ReadsKey = nothing_read) -> Node | New:
    """Find the turn that a conversation goes on from: that of the longest beginning that was answered.

    Args:
        tree: The session.
        messages: The conversation, as the agent sends it.
        tools: Its tools; a conversation with other tools is another.
        reads_key: Whether the format reads a key of a message that isc itself does not.

    Raises:
        ConversationError: The messages are none.

    >>> match(Session("a"), [{"role": "user", "content": "hi"}]).reason
    'first'
    """
    chat = convert.chat(messages, tools, complete=False, invalid_arguments="raw", reads_key=reads_key)
    return matched(tree, chat.messages, tuple(digests(chat.messages, chat.tools, reads_key)))


def matched(tree: Session, messages: Sequence[Message], path: Sequence[bytes]) -> Node | New:
    """Return the match of messages whose digests are known; see `match`."""
    if not tree.turns:
        return New("first", "the session begins")
    fits = dict[int, bool]()
    for count in range(len(path), 0, -1):
        numbers = [
            number for number in tree.ends.get(path[count - 1], ()) if _fits(tree, number, messages, count, fits)
        ]
        if not numbers:
            continue
        if len(numbers) > 1 and not _same_ids(tree, numbers):
            turns = ", ".join(map(str, numbers))
            return New(
                "ambiguous", f"messages[{count - 1}] may be the answer of turns {turns}: their reasoning differs"
            )
        return Node(numbers[-1], count)
    return New("other_conversation", "no message in it is an answer of this session")


def _fits(tree: Session, number: int, messages: Sequence[Message], count: int, known: dict[int, bool]) -> bool:
    """Return whether what the digests left out fits a turn whose answer is message `count - 1`, and all before it.

    A turn is looked at once, so that many turns behind one cost no more than their own messages.
    """
    places: list[tuple[int, int]] = []
    turn: int | None = number
    while turn is not None and turn not in known:
        places.append((turn, count - 1))
        count -= len(tree.turns[turn].messages) + 1
        turn = tree.turns[turn].parent
    fits = turn is None or known[turn]
    for place, index in reversed(places):
        fits = fits and _fits_turn(tree, tree.turns[place], messages[index])
        known[place] = fits
    return fits


def _fits_turn(tree: Session, turn: Turn, message: Message) -> bool:
    """Return whether a message can be the answer of a turn: its reasoning and the ids of its calls, where it has them.

    An id that the session gave out names its turn. Any other is one that the agent chose.
    """
    if not isinstance(message, AssistantMessage):
        return False
    reasoning = said(message).reasoning
    if reasoning and reasoning != said(turn.said).reasoning:
        return False
    ours = [call.id for call in message.tool_calls if call.id in tree.issued]
    return not ours or set(ours) <= set(turn.call_ids)


def _same_ids(tree: Session, numbers: Sequence[int]) -> bool:
    """Return whether turns have the same ids, so that it does not matter from which of them a conversation goes on."""
    first = tree.sequence(numbers[0])
    return all(tree.sequence(number) == first for number in numbers[1:])


def first_difference(
    tree: Session, messages: Sequence[Message], tools: Sequence[ToolSpec], path: Sequence[bytes]
) -> Difference | None:
    """Return where a conversation first differs from the recorded one that it shares most with; None for no other.

    Args:
        tree: The session.
        messages: The conversation.
        tools: Its tools.
        path: The digests after each message.
    """
    if not tree.turns:
        return None
    shared = next((count for count in range(len(path), 0, -1) if path[count - 1] in tree.places), 0)
    if not shared and all(
        opening_digest(turn.tools) != opening_digest(tools) for turn in tree.turns if not turn.parent
    ):
        return _tools_difference(tree.turns[-1].tools or tree.tools(len(tree.turns) - 1), tools)
    number = tree.places[path[shared - 1]] if shared else 0
    recorded = tree.path(number)
    # the turn is the first that has this beginning; a later message of its own may be the one that was expected
    expected = recorded[shared] if shared < len(recorded) else None
    received = messages[shared] if shared < len(messages) else None
    if expected is None and received is not None:
        following = [turn for turn in tree.turns if turn.parent == number and turn.messages]
        expected = following[-1].messages[0] if following else None
    if expected is None or received is None:
        return None
    return next(_differences(f"messages[{shared}]", expected, received), None)


def _tools_difference(recorded: Sequence[ToolSpec], received: Sequence[ToolSpec]) -> Difference:
    """Return the difference of tools, by the names that only one side has."""
    ours, theirs = {tool.name for tool in recorded}, {tool.name for tool in received}
    only = ", ".join(sorted(ours - theirs)), ", ".join(sorted(theirs - ours))
    return Difference("tools", *(names[:_SHOWN] or None for names in only))


def _differences(path: str, recorded: Message, received: Message) -> Iterator[Difference]:
    """Yield where two messages differ in what they mean, as their fields stand."""
    if type(recorded) is not type(received):
        yield Difference(f"{path}.role", ROLES[type(recorded)], ROLES[type(received)])
        return
    if isinstance(recorded, AssistantMessage) and isinstance(received, AssistantMessage):
        ours, theirs = said(recorded), said(received)
        yield from _texts(f"{path}.content", ours.content, theirs.content)
        yield from _calls(path, recorded, received)
        if theirs.reasoning:
            yield from _texts(f"{path}.reasoning_content", ours.reasoning, theirs.reasoning)
    else:
        yield from _texts(f"{path}.content", text_of(recorded.content).strip(), text_of(received.content).strip())
    if not isinstance(recorded, (ToolMessage, AssistantMessage)):
        yield from _texts(f"{path}.name", recorded.name or "", received.name or "")
    if isinstance(recorded, ToolMessage) and isinstance(received, ToolMessage):
        yield Difference(f"{path}.tool_call_id", recorded.tool_call_id, received.tool_call_id)


def _calls(path: str, recorded: AssistantMessage, received: AssistantMessage) -> Iterator[Difference]:
    for index, (ours, theirs) in enumerate(zip_longest(recorded.tool_calls, received.tool_calls)):
        place = f"{path}.tool_calls[{index}]"
        if ours is None or theirs is None:
            yield Difference(place, None if ours is None else ours.name, None if theirs is None else theirs.name)
            return
        yield from _texts(f"{place}.name", ours.name, theirs.name)
        expected, sent = same_arguments(ours.arguments), same_arguments(theirs.arguments)
        if expected != sent:
            yield from _texts(f"{place}.arguments", str(expected), str(sent))


def _texts(path: str, recorded: str, received: str) -> Iterator[Difference]:
    """Yield where two texts differ, each from a little before the place on."""
    if recorded == received:
        return
    pairs = enumerate(zip(recorded, received, strict=False))
    place = next((k for k, (ours, theirs) in pairs if ours != theirs), min(len(recorded), len(received)))
    around = slice(max(0, place - _BEFORE), place + _SHOWN - _BEFORE)
    yield Difference(path, recorded[around], received[around])
