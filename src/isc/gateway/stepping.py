"""One step of a session, pure: what an agent sends becomes the next prompt, what is sampled for it the next turn.

The prompt EXTENDS the ids that were sampled wherever the conversation is one of ours with new messages. Where it is
not, it is rendered anew as a branch: recorded messages as far as they match, then those that were sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from msgspec import Struct
from msgspec.structs import replace

from isc.conversation import bridge
from isc.conversation.bridge import PartLengths, Refusal
from isc.conversation.prefill import PromptEnd
from isc.conversation.renderer import Renderer
from isc.conversation.rollout import together
from isc.convert import Messages, Tools
from isc.errors import ConversationError
from isc.gateway.fitting import fitted
from isc.gateway.matching import New, Node, first_difference, matched
from isc.gateway.meaning import after_message, digests, opening_digest
from isc.gateway.tree import Origin, Piece, Session, Tail, Turn, tail_after
from isc.rendered import RenderedTokens, check_ids
from isc.types import AssistantMessage, Chat, DeveloperMessage, Message, SystemMessage, ToolMessage, ToolSpec

_ID_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_NEW = re.compile(r"new_messages\[(\d+)\]")
_INSTRUCTIONS = (SystemMessage, DeveloperMessage)
_ID_LENGTH = 9  # what the strictest formats take as the id of a call


class Prompted(Struct, frozen=True):
    """A prompt that waits for its completion, and where its turn will stand in the session.

    Attributes:
        prompt: The prompt with its attribution.
        parent: The turn whose conversation it goes on; None for none.
        base: The turn with whose prompt and completion it begins; None for none.
        tail: What it adds to these.
        messages: What came since the parent's answer, as it is rendered.
        tools: The tools that are offered.
        digests: Of the conversation after each of `messages`.
        before: Of the conversation before the answer.
        origin: How the prompt came about.
        given: What the prompt holds of the answer that is asked for.
    """

    prompt: RenderedTokens
    parent: int | None
    base: int | None
    tail: Tail
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    digests: tuple[bytes, ...]
    before: bytes
    origin: Origin
    given: AssistantMessage | None = None


class Sampling(Struct, frozen=True):
    """What was sampled for a prompt, by whom, and how it was read.

    Attributes:
        completion_ids: The ids.
        logprobs: The log-probability of each; None where the sampler told none.
        said: The completion as a message; its calls have the model's own ids.
        finish_reason: How it ended.
        pieces: Who sampled which part of it; their lengths add up to all ids.
        parts: How many of the ids in a row are of which part; empty where the renderer says no parts.
    """

    completion_ids: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    said: AssistantMessage
    finish_reason: str = "stop"
    pieces: tuple[Piece, ...] = ()
    parts: PartLengths = ()


class _Asked(Struct, frozen=True):
    """What an agent sends: the messages of the turn that it goes on from, then new ones, and the digests after each.

    `all_received` are the messages as they were sent.
    """

    all_received: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    path: tuple[bytes, ...]
    found: Node | New
    before: tuple[Message, ...]
    new: tuple[Message, ...]

    @property
    def parent(self) -> int | None:
        """Return the turn that it goes on from; None for none."""
        return self.found.turn if isinstance(self.found, Node) else None

    @property
    def ends(self) -> tuple[bytes, ...]:
        """Return the digests after the new messages."""
        return self.path[len(self.path) - len(self.new) :]


def step(
    tree: Session,
    renderer: Renderer,
    messages: Messages,
    tools: Tools = None,
    *,
    after: int | None = None,
    continues: bool = False,
) -> Prompted:
    """Return the next prompt for what an agent sends.

    Args:
        tree: The session.
        renderer: Format and vocabulary.
        messages: The whole conversation as the agent has it; with `after` what came since.
        tools: Its tools.
        after: A turn that the agent names as the one it goes on from; None finds it by the messages.
        continues: Whether the last message, an assistant's, is left open for the model to go on with.

    Raises:
        ConversationError: Something cannot be rendered; its path says where.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen25().specials), isc.Qwen25())
    >>> hello = [{"role": "user", "content": "hi"}]
    >>> session = Session("a")
    >>> prompted = step(session, renderer, hello)
    >>> ids = (*next(iter(renderer.encoder.encode_batch(["Good day."]))), renderer.get_stop_token_ids()[0])
    >>> sampling = Sampling(ids, (-0.5,) * len(ids), isc.AssistantMessage("Good day."))
    >>> session = session.after(answered(prompted, sampling, "turn-1"))
    >>> sent = [*hello, {"role": "assistant", "content": "Good day. "}, {"role": "user", "content": "?"}]
    >>> following = step(session, renderer, sent)
    >>> following.origin.continued, following.prompt.token_ids[: len(prompted.prompt)] == prompted.prompt.token_ids
    ('extended', True)
    """
    if after is None:
        asked = _asked(tree, renderer, messages, tools, continues=continues)
    else:
        asked = _asked_after(tree, renderer, messages, tools, after)
    if continues:
        return _left_open(tree, renderer, asked)
    sampled_since = any(isinstance(message, AssistantMessage) for message in asked.new)
    if asked.parent is None or sampled_since or not asked.new:
        return _rendered(tree, renderer, asked, _why_rendered(asked))
    base, completion = tree.prompt(asked.parent), tree.turns[asked.parent].completion_ids
    try:
        extended = renderer.extend(base, completion, asked.new, asked.tools)
    except ConversationError as error:
        return _rendered_as_shown(tree, renderer, asked, _counted_from_the_first(error, len(asked.before)))
    if extended is None:
        return _rendered(tree, renderer, asked, _refused(renderer, base, completion, asked))
    tail = tail_after(extended, base, len(completion))
    where = (asked.parent, asked.parent, tail, asked.new, asked.tools, asked.ends, asked.path[-1])
    return Prompted(extended, *where, Origin("extended"))


def answered(prompted: Prompted, sampling: Sampling, identity: str, created: float = 0.0) -> Turn:
    """Return the turn that a completion makes of a prompt; `Session.after` puts it into the session.

    Args:
        prompted: The prompt, of `step`.
        sampling: What was sampled for it.
        identity: The turn's name, unique in the session. The ids of its calls are made of it.
        created: When, in seconds since 1970.

    Raises:
        OptionError: An id is none.
    """
    check_ids(sampling.completion_ids)
    said = sampling.said if prompted.given is None else together(prompted.given, sampling.said)
    return Turn(
        number=0,
        id=identity,
        parent=prompted.parent,
        base=prompted.base,
        messages=prompted.messages,
        tail=prompted.tail,
        completion_ids=sampling.completion_ids,
        logprobs=sampling.logprobs,
        said=said,
        call_ids=tuple([call_id(identity, index) for index in range(len(said.tool_calls))]),
        digests=(*prompted.digests, after_message(prompted.before, said)),
        origin=prompted.origin,
        finish_reason=sampling.finish_reason,
        pieces=sampling.pieces,
        parts=sampling.parts,
        tools=prompted.tools if prompted.parent is None else (),
        created=created,
    )


def as_shown(said: AssistantMessage, turn: str) -> AssistantMessage:
    """Return an answer as the agent is shown it: its calls by ids of its turn's name.

    Args:
        said: The answer, with the model's own ids.
        turn: The name of the turn.
    """
    calls = [replace(call, id=call_id(turn, index)) for index, call in enumerate(said.tool_calls)]
    return replace(said, tool_calls=tuple(calls)) if calls else said


def call_id(turn: str, index: int) -> str:
    """Return the id by which an agent is shown a call: unique, and of the form that every format and dialect takes.

    Args:
        turn: The name of the turn.
        index: The place of the call among those of the turn.

    >>> call_id("turn-1", 0) == call_id("turn-1", 0), call_id("turn-1", 0) == call_id("turn-1", 1)
    (True, False)
    """
    number = int.from_bytes(blake2b(f"{turn} {index}".encode(), digest_size=8).digest())
    characters: list[str] = []
    for _ in range(_ID_LENGTH):
        number, place = divmod(number, len(_ID_CHARACTERS))
        characters.append(_ID_CHARACTERS[place])
    return "".join(characters)


def _asked(tree: Session, renderer: Renderer, messages: Messages, tools: Tools, *, continues: bool) -> _Asked:
    """Find the turn that a whole conversation goes on from. A message that is left open is no answer."""
    given = renderer.chat(messages, tools, invalid_arguments="raw")
    chat = replace(given, messages=fitted(given.messages, renderer.family))
    path = tuple(digests(chat.messages, chat.tools, renderer.family.reads_key))
    closed = path[:-1] if continues else path
    found = matched(tree, chat.messages, closed)
    if isinstance(found, New):
        return _Asked(chat.messages, chat.tools, path, found, (), chat.messages)
    before = tree.path(found.turn)
    new = _with_own_ids(chat.messages[len(before) :], zip(chat.messages, before, strict=False))
    return _Asked(chat.messages, chat.tools, path, found, before, new)


def _asked_after(tree: Session, renderer: Renderer, messages: Messages, tools: Tools, after: int) -> _Asked:
    """Return what goes on from a turn that the agent names.

    Instructions may stand before the new messages, as they stood before the first ones. With others, or with other
    tools, the conversation is another: it is rendered anew.
    """
    given = renderer.chat_after(messages, tools, None)
    chat = replace(given, messages=fitted(given.messages, renderer.family))
    before, shown = tree.path(after), tree.lineage(after)
    new = _with_own_ids(chat.messages, [(turn.shown, turn.answer) for turn in shown])
    opening = new[:1] if new and isinstance(new[0], _INSTRUCTIONS) else ()
    recorded = before[:1] if isinstance(before[0], _INSTRUCTIONS) else ()
    new = new[len(opening) :]
    reads_key = renderer.family.reads_key
    if opening and list(digests(opening, (), reads_key)) != list(digests(recorded, (), reads_key)):
        whole, other = (*opening, *before[len(recorded) :], *new), "instructions"
    elif opening_digest(chat.tools) != opening_digest(tree.tools(after)):
        whole, other = (*before, *new), "tools"
    else:
        path = tuple(digests((*before, *new), chat.tools, reads_key))
        return _Asked(
            (*before, *chat.messages[len(opening) :]), chat.tools, path, Node(after, len(before)), before, new
        )
    found = New("other_conversation", f"the turn that it names had other {other}")
    return _Asked(whole, chat.tools, tuple(digests(whole, chat.tools, reads_key)), found, (), whole)


def _with_own_ids(new: tuple[Message, ...], pairs: Iterable[tuple[Message, Message]]) -> tuple[Message, ...]:
    """Return messages whose results name their calls by the recorded ids, not by those that the agent knows them by."""
    if not any(isinstance(message, ToolMessage) for message in new):
        return new
    names: dict[str | None, str | None] = {}
    for received, recorded in pairs:
        if isinstance(received, AssistantMessage) and isinstance(recorded, AssistantMessage):
            calls = zip(received.tool_calls, recorded.tool_calls, strict=False)
            names.update((theirs.id, ours.id) for theirs, ours in calls if theirs.id is not None)
    return tuple(
        [
            replace(message, tool_call_id=names.get(message.tool_call_id, message.tool_call_id))
            if isinstance(message, ToolMessage)
            else message
            for message in new
        ]
    )


def _counted_from_the_first(error: ConversationError, before: int) -> ConversationError:
    """Return an error about a new message whose path counts messages from the first of the conversation."""
    place = _NEW.match(error.path)
    if place is None:
        return error
    path = f"messages[{int(place[1]) + before}]{error.path[place.end() :]}"
    return type(error)(path, error.problem, error.value)


def _rendered(tree: Session, renderer: Renderer, asked: _Asked, origin: Origin) -> Prompted:
    """Return the prompt rendered anew, from recorded messages as far as they match."""
    chat = Chat((*asked.before, *asked.new), asked.tools)
    prompt = renderer.render_chat(chat, add_generation_prompt=True)
    origin = _with_difference(tree, asked, origin)
    where = (asked.new, asked.tools, asked.ends, asked.path[-1])
    return Prompted(prompt, asked.parent, None, tail_after(prompt, None, 0), *where, origin)


def _rendered_as_shown(tree: Session, renderer: Renderer, asked: _Asked, error: ConversationError) -> Prompted:
    """Return the prompt after an answer as it was shown, where it cannot follow the answer as it was sampled.

    A call that is none was shown as text: an agent may speak after it, and some formats take no user after a call.
    """
    origin = Origin("rendered", "as_shown", f"after what was sampled the format does not take what came: {error}")
    try:
        return _rendered(tree, renderer, asked, origin)
    except ConversationError:
        raise error from None


def _left_open(tree: Session, renderer: Renderer, asked: _Asked) -> Prompted:
    """Return the prompt that ends with a message which the model goes on with."""
    prompt = renderer.render_to(Chat((*asked.before, *asked.new), asked.tools), PromptEnd(continue_final_message=True))
    given = asked.new[-1] if asked.new else None
    assert isinstance(given, AssistantMessage), "only an assistant message is left open"
    origin = Origin("rendered", "left_open", "the last message is left open, for the model to go on with")
    before = asked.path[-2] if len(asked.path) > 1 else opening_digest(asked.tools)
    where = (asked.new[:-1], asked.tools, asked.ends[:-1], before)
    return Prompted(prompt, asked.parent, None, tail_after(prompt, None, 0), *where, origin, given)


def _why_rendered(asked: _Asked) -> Origin:
    """Return why a conversation cannot be extended, from its messages alone."""
    if isinstance(asked.found, New):
        return Origin("rendered", asked.found.reason, asked.found.detail)
    if not asked.new:
        return Origin("rendered", "no_new_messages", "the conversation ends with an answer; there is nothing new in it")
    detail = f"after messages[{len(asked.before) - 1}] there is an answer that is not one of this session"
    return Origin("rendered", "other_history", detail)


def _refused(renderer: Renderer, base: RenderedTokens, completion: Sequence[int], asked: _Asked) -> Origin:
    """Return why the format does not let a conversation be extended."""
    ids = bridge.without_literal_openers(renderer.family, renderer.encoder, base)
    refusal = renderer.plan_bridge(ids, completion, asked.new, asked.tools, base.multi_modal_data)
    assert isinstance(refusal, Refusal), "extend and plan_bridge decide alike"
    return Origin("rendered", refusal.reason, refusal.detail)


def _with_difference(tree: Session, asked: _Asked, origin: Origin) -> Origin:
    """Add the first difference from what was recorded, where the conversation is not what was expected."""
    if origin.reason not in ("other_conversation", "other_history", "ambiguous"):
        return origin
    difference = first_difference(tree, asked.all_received, asked.tools, asked.path)
    return replace(origin, difference=difference)
