"""The laws of isc (DESIGN 2) as functions: each raises `LawError` where it does not hold; its docstring is the law.

`isc.testing` gives them to whoever writes a format.
"""

from __future__ import annotations

import os.path
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise, takewhile
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from isc import convert
from isc._json import json_text
from isc.conversation.contexts import training_contexts
from isc.conversation.renderer import Renderer, stream
from isc.conversation.training import TrainingSample
from isc.encoding._boundaries import joins
from isc.encoding.base import Prefix
from isc.encoding.fold import fold
from isc.errors import ConversationError, TemplateError
from isc.formats.segments import IMAGE_TOKENS, arguments_object, closing, is_special
from isc.rendered import RenderedTokens
from isc.testing import twins
from isc.testing.twins import Conversation
from isc.types import UNOWNED, AssistantMessage, Chat, Json, Owner, ParsedResponse, Segment, Span, ToolCall

_THINK = frozenset(("<think>", "</think>"))
"""Reasoning markers that templates look for in an answer, whether or not their grammar is known."""


class LawError(AssertionError):
    """A law does not hold; `facts` are what was found, in its message in full."""

    facts: tuple[object, ...] = ()


class Reference(Protocol):
    """An independent implementation of a format: the model's own template and tokenizer."""

    def text(self, conversation: Conversation, *, add_generation_prompt: bool) -> str:
        """Return the text that the model's template renders."""

    def encode(self, text: str) -> tuple[Sequence[int], Sequence[Span]]:
        """Return the ids of a text, specials recognized, and the characters of each."""


class CutToken(Struct, frozen=True):
    """A token of the reference that spans a cut: its text, and where in it the cut is, where a prompt ended mostly."""

    text: str
    cut: int


def require(condition: object, *facts: object) -> None:
    """Raise a `LawError` that states the facts, unless the condition holds."""
    if not condition:
        error = LawError("; ".join(map(str, facts)))
        error.facts = facts
        raise error


def parity(
    renderer: Renderer, conversation: Conversation, reference: Reference, *, add_generation_prompt: bool = False
) -> tuple[CutToken, ...]:
    """Check that the stream's text is byte for byte what the template renders, and that ids equal the reference's.

    A placeholder counts as often as it is repeated, in the reference's text too. Ids are compared under
    `body_specials="parse"`, since the reference parses specials wherever they are spelled.

    Ids may differ only where a token of the reference, or a word that its pre-tokenizer finds, spans a cut: a sampling
    cut, or an edge of a special of the format. Then they equal the reference's encoding of the pieces between cuts.
    Where a vocabulary puts a space before a text, the reference cannot encode a piece that continues a text. There its
    ids equal a render under `sampling_cuts="none"`, and both renders decode to the same text.

    Returns:
        The tokens of the reference that span a cut.
    """
    messages, tools = conversation
    theirs = reference.text(conversation, add_generation_prompt=add_generation_prompt)
    segments = list(renderer.segments(messages, tools, add_generation_prompt))
    ours = "".join(segment.text * segment.repeat for segment in segments)
    if ours != theirs:
        raise LawError(f"texts differ; {difference(ours, theirs)}; {conversation}")
    rendered = renderer.render(messages, tools, add_generation_prompt, body_specials="parse")
    ids, offsets = reference.encode(theirs)
    if tuple(ids) == rendered.token_ids:
        return ()
    forged = {edge for edge in _special_edges(segments) if any(_spanning(offsets, edge))}
    cuts = sorted(forged.union(_cuts(segments, rendered.message_roles)))
    crossing = tuple(CutToken(theirs[start:end], cut - start) for cut in cuts for start, end in _spanning(offsets, cut))
    if renderer.encoder.prefix is not None:
        whole = renderer.render(messages, tools, add_generation_prompt, body_specials="parse", sampling_cuts="none")
        require(whole.token_ids == tuple(ids), "ids of the whole text differ", ids, whole.token_ids)
        ours, theirs = (renderer.encoder.decode_bytes(token_ids).decode() for token_ids in (rendered.token_ids, ids))
        require(ours == theirs, "ids decode to other texts", ids, rendered.token_ids)
        return crossing
    pieces = [theirs[start:end] for start, end in zip([0, *cuts], [*cuts, len(theirs)], strict=True)]
    apart = tuple(token_id for piece in pieces for token_id in reference.encode(piece)[0])
    require(apart == rendered.token_ids, "ids differ where no sampling cut is", ids, rendered.token_ids)
    return crossing


def difference(ours: str, theirs: str) -> str:
    """Describe the first place at which two texts differ."""
    place = len(os.path.commonprefix((ours, theirs)))
    around = slice(max(0, place - 30), place + 30)
    return f"at character {place}: {ours[around]!r} instead of {theirs[around]!r}"


def _spanning(offsets: Sequence[tuple[int, int]], position: int) -> Iterator[tuple[int, int]]:
    """Return the tokens that begin before a position of the text and end behind it, of all in their order."""
    for start, end in reversed(offsets[: bisect_left(offsets, (position, 0))]):
        if end <= position:
            return
        yield start, end


def _cuts(segments: Sequence[Segment], roles: Sequence[str]) -> Iterator[int]:
    """Return the positions in the text at which sampling starts or stops."""
    owners = [s.message if s.body and roles[s.message] == "assistant" else UNOWNED for s in segments]
    ends = accumulate(len(segment.text) * segment.repeat for segment in segments)
    return (end for end, before, after in zip(ends, owners, owners[1:], strict=False) if before != after)


def _special_edges(segments: Sequence[Segment]) -> Iterator[int]:
    """Return the positions in the text at which specials begin and end."""
    ends = accumulate(len(segment.text) * segment.repeat for segment in segments)
    return (
        edge
        for segment, end in zip(segments, ends, strict=True)
        if segment.kind == "special"
        for edge in (end - len(segment.text) * segment.repeat, end)
    )


def ownership(renderer: Renderer, conversation: Conversation) -> None:
    """Check that every token has one owner: that of its first body byte, else that of its first byte.

    The tools block belongs to the message whose turn holds it, in a turn of its own to nobody.
    Every token is checked against the bytes of the stream, without any of the fold's shortcuts.
    """
    messages, tools = conversation
    check_owners(renderer, renderer.render(messages, tools), list(renderer.segments(messages, tools)))


def check_owners(renderer: Renderer, rendered: RenderedTokens, segments: Sequence[Segment]) -> None:
    """Check the owner of every token of a render against the bytes of its stream, its part among them if it says parts.

    A stream says some parts unasked, where the format itself knows them best.
    """
    if all(run.part is None for run in rendered.runs):
        segments = [replace(segment, part=None) for segment in segments]
    owners = [(run.message, run.body, run.part) for run in rendered.runs for _ in range(run.length)]
    position = 0
    for unit in _units(segments, rendered.message_roles, renderer.encoder.prefix):
        ids = _unit_ids(renderer, unit)
        span = slice(position, position + len(ids))
        require(list(rendered.token_ids[span]) == ids, "ids of a unit differ", unit)
        if "".join(s.text for s in unit) == renderer.encoder.normalize("".join(s.text for s in unit)):
            require(owners[span] == list(_slow_owners(renderer, unit, ids)), "owners differ", unit, owners[span])
        position += len(ids)
    require(position == len(rendered), "tokens beyond the stream", position, len(rendered))


def _units(segments: Sequence[Segment], roles: Sequence[str], prefix: Prefix | None = None) -> Iterator[list[Segment]]:
    """Yield the segments that are encoded together, found the plain way."""
    unit: list[Segment] = []
    before: Segment | None = None
    for segment in filter(lambda segment: segment.text, segments):
        if unit and ("special" in (segment.kind, unit[-1].kind) or _cut(unit[-1], segment, roles)):
            yield unit
            unit = []
        own = prefix is not None and not unit and segment.kind == "text"
        unit.append(prefix.before(segment, before) if own and prefix else segment)
        before = segment
    if unit:
        yield unit


def _cut(first: Segment, second: Segment, roles: Sequence[str]) -> bool:
    return list(_cuts((first, second), roles)) != []


def _unit_ids(renderer: Renderer, unit: Sequence[Segment]) -> list[int]:
    if unit[0].kind == "special":
        return [renderer.encoder.specials[unit[0].text]] * unit[0].repeat
    return list(next(iter(renderer.encoder.encode_batch(["".join(segment.text for segment in unit)]))))


def _slow_owners(renderer: Renderer, unit: Sequence[Segment], ids: Sequence[int]) -> Iterator[Owner]:
    """Yield the owner of each token, from an owner for every byte: of the best byte, of equals the first."""
    owners = [(s.message, s.body, s.part) for s in unit for _ in s.text.encode() * s.repeat]
    position = 0
    for token_id in ids:
        touched = owners[position : position + len(renderer.encoder.decode_bytes((token_id,)))]
        position += len(touched)
        yield max(touched, key=lambda owner: (owner[1], owner[2] not in ("tool_call", "marker", "close")))


def body(renderer: Renderer, conversation: Conversation) -> None:
    """Check that no body byte is lost and no body is without an owner.

    A message's body tokens decode to a text that contains its body.

    A leading mark that composes with scaffold before it (NFC) is found composed. Where two bodies meet with nothing
    between them, a token that holds of both is the first one's.
    """
    messages, tools = conversation
    rendered = renderer.render(messages, tools)
    decoded = [
        renderer.encoder.decode_bytes([k for k, m, b in _columns(rendered) if b and m == index])
        for index in range(len(rendered.message_roles))
    ]
    before = Segment("")
    for segment in filter(lambda segment: segment.text, renderer.segments(messages, tools)):
        require(not (segment.body and segment.message == UNOWNED), "body without an owner", segment)
        if segment.body:
            own = decoded[segment.message]
            text = segment.text.lstrip("".join(filter(joins, segment.text)))
            kept = any(wanted.encode() in own for wanted in (segment.text, renderer.encoder.normalize(text)))
            shared = before.body and before.message != segment.message and "special" not in (before.kind, segment.kind)
            if shared and not kept:
                texts = [renderer.encoder.normalize(text) for text in (before.text, segment.text)]
                kept = _in_two_bodies(texts[0], texts[1], decoded[before.message], own)
            require(kept, "body bytes lost", segment, own)
        before = segment


def _in_two_bodies(before: str, text: str, first: bytes, second: bytes) -> bool:
    """Return whether what a text lacks in the second body's tokens stands in the first body's, after its own text."""
    own, data = before.encode(), text.encode()
    parts = ((own + data[:place], data[place:]) for place in range(1, len(data) + 1))
    return any(tail in second and (first.endswith(held) or held.endswith(first)) for held, tail in parts)


def _columns(rendered: RenderedTokens) -> Iterator[tuple[int, int, bool]]:
    return zip(rendered.token_ids, rendered.message_indices, rendered.is_content, strict=True)


def sampled(renderer: Renderer, conversation: Conversation) -> None:
    """Check what is sampled: all that follows an assistant's generation prompt, its turn close included, nothing else.

    On assistant tokens `is_content == sampled_mask`. Elsewhere nothing is sampled. Where a turn begins with the
    generation prompt that would have been given, none of that prompt is sampled, and everything after it is.
    """
    messages, tools = conversation
    rendered = renderer.render(messages, tools)
    for role, content, drawn in zip(
        (rendered.message_roles[k] if k != UNOWNED else None for k in rendered.message_indices),
        rendered.is_content,
        rendered.sampled_mask,
        strict=True,
    ):
        require(drawn == (content and role == "assistant"), "sampled is not body of an assistant message")
    chat = renderer.chat(messages, tools)
    segments = list(stream(renderer.family, chat))
    for index in range(len(chat.messages)):
        if chat.role(index) == "assistant":
            _check_turn(renderer, chat, index, [segment for segment in segments if segment.message == index])


def _check_turn(renderer: Renderer, chat: Chat, index: int, turn: Sequence[Segment]) -> None:
    prompt = "".join(segment.text for segment in renderer.family.generation_prompt(chat.before(index)))
    own = takewhile(lambda segment: not (segment.body and segment.text), renderer.family.turn(chat, index))
    text = "".join(segment.text for segment in own)
    scaffold = "".join(segment.text for segment in takewhile(lambda segment: not segment.body, turn))
    if text.startswith(prompt):
        require(scaffold == prompt, "what is sampled does not start where the prompt ends", turn)
    said = [segment for segment in turn if segment.body]
    close = renderer.family.turn_close
    if close is not None and any(segment.text == close and segment.kind == "special" for segment in turn):
        closed = said[-1].text == close and said[-1].kind == "special"
        require(closed, "sampling does not stop at the turn close", turn)
    if close is None and index + 1 < len(chat.messages):
        closed = bool(said) and said[-1].kind == "special" and said[-1] == turn[-1]
        require(closed, "the next role's marker is not the turn's close", turn)


def homomorphism(renderer: Renderer, conversation: Conversation) -> None:
    """Check that `fold(a + b) == fold(a) + fold(b)` at every cut: at specials, and where sampling starts or stops.

    `fold(b)` is told the segment before `b`, which matters to vocabularies that put a space before a text of its own.
    An image is not cut, though its tokens may be several specials.
    """
    messages, tools = conversation
    whole = renderer.render(messages, tools)
    segments = list(renderer.segments(messages, tools))
    for place, (first, second) in enumerate(pairwise(segments), 1):
        if first.media is not None and first.media is second.media:
            continue
        if "special" in (first.kind, second.kind) or _cut(first, second, whole.message_roles):
            parts = [
                fold(part, renderer.encoder, whole.message_roles, whole.message_tool_names, after=before)
                for part, before in ((segments[:place], None), (segments[place:], first))
            ]
            require(parts[0] + parts[1] == whole, "fold is no homomorphism at segment", place, segments)


def contexts(renderer: Renderer, conversation: Conversation) -> None:
    """Check that each assistant turn is trained on once, in the fewest samples, behind the very prompt it answered.

    The prompt is a render of the messages before the turn, with a generation prompt. A turn that does not begin with
    that prompt is named as unprompted. What is trained on is what a render up to the turn samples, and the stop that
    the next message shows. A format that keeps history needs one sample.
    """
    chat = renderer.chat(*conversation)
    answers = [index for index, role in enumerate(chat.roles) if role == "assistant"]
    made = training_contexts(renderer, chat, answers)
    places = [(sample, index) for sample in made.samples for index in answers if _trained_places(sample, index)]
    require(
        len(places) == len({index for _, index in places}), "a turn is trained on twice", [i for _, i in places], chat
    )
    rewritten = 0
    for sample, index in places:
        places_of = _trained_places(sample, index)
        prompt = _prompt_ids(renderer, chat, index)
        alone, said = _said(renderer, chat, index)
        prompted = bool(said) and alone[: said[0]] == prompt
        require(prompted or index in made.unprompted or not said, "an unprompted turn is not named", index, chat)
        require(index not in made.unprompted or not prompted, "a prompted turn is named as unprompted", index, chat)
        if prompted:
            require(sample.token_ids[: places_of[0]] == prompt, "trained behind another prompt", index, chat)
        trained = [sample.token_ids[k] for k in places_of]
        require(trained[: len(said)] == [alone[k] for k in said], "trained on other ids", index, chat)
        rewritten += not prompted
    missing = set(answers) - {index for _, index in places}
    require(not any(_said(renderer, chat, index)[1] for index in missing), "a turn is not trained on", missing, chat)
    if renderer.family.keeps_history and not rewritten:
        require(len(made.samples) <= 1, "history is kept, and there are several samples", len(made.samples), chat)


def _prompt_ids(renderer: Renderer, chat: Chat, index: int) -> tuple[int, ...] | None:
    """Return the prompt before an answer, or None where no conversation of the format ends there."""
    try:
        return renderer.render_chat(chat.before(index), add_generation_prompt=True).token_ids if index else None
    except (ConversationError, TemplateError):
        return None


def _trained_places(sample: TrainingSample, index: int) -> list[int]:
    """Return the positions at which a sample trains on a message."""
    owners = sample.rendered.message_indices
    return [k for start, end in sample.loss_spans for k in range(start, end) if owners[k] == index]


def _said(renderer: Renderer, chat: Chat, index: int) -> tuple[tuple[int, ...], list[int]]:
    """Return the ids of a conversation up to an answer, and the positions at which the answer is sampled."""
    try:
        rendered = renderer.render_chat(chat.before(index + 1))
    except (ConversationError, TemplateError):
        return (), []
    columns = zip(rendered.message_indices, rendered.is_content, strict=True)
    return rendered.token_ids, [k for k, (owner, body) in enumerate(columns) if owner == index and body]


def no_forgery(
    renderer: Renderer,
    conversation: Conversation,
    new: Conversation | None = None,
    *,
    specials: Sequence[str] | None = None,
) -> None:
    """Check that a conversation that spells specials has the same special ids as its twin of plain words.

    Specials are spelled in every string of the caller: contents and their parts, reasoning, names, call ids, names and
    descriptions of tools, keys and enums of their schemas, keys and values of arguments. The twin has the same shape
    and says plain words there. Both must render to the same special ids in the same order; so must the bridges from
    the twin's last turn to `new`, spelled and plain.

    An assistant's content spells no reasoning marker: templates split the content there by intent. A conversation with
    images spells no placeholder: nothing would measure its image.

    Args:
        renderer: Format and vocabulary.
        conversation: The conversation; its own strings may spell specials too.
        new: Messages to bridge to, if the conversation ends with an assistant turn.
        specials: The specials to spell; None spells the format's own, and among them others of the vocabulary.
    """
    evil, twin = _twins(renderer, conversation, specials)
    in_ids = not _refused(renderer, *evil)
    if not in_ids:  # the templates of some models take alphanumeric ids only
        evil, twin = _twins(renderer, conversation, specials, in_ids=False)
    _check_same_specials(renderer, renderer.render(*evil).token_ids, renderer.render(*twin).token_ids, evil)
    if new is None or len(twin[0]) == 1:
        return
    messages, tools = twin
    prompt = renderer.render_ids(messages[:-1], tools, True)
    completion, _ = _sampled_turn(renderer, renderer.chat(messages, tools))
    news = _twins(renderer, new, specials, in_ids=in_ids)
    spelled, plain = (renderer.bridge_to_next_turn(prompt, completion, said, tools) for said, _ in news)
    require((spelled is None) == (plain is None), "a bridge is refused for what is spelled", new)
    if spelled is not None and plain is not None:
        _check_same_specials(renderer, spelled.token_ids, plain.token_ids, new)


def _check_same_specials(renderer: Renderer, evil: Sequence[int], twin: Sequence[int], *facts: object) -> None:
    special_ids = set(renderer.encoder.specials.values())
    ours, theirs = (list(filter(special_ids.__contains__, token_ids)) for token_ids in (evil, twin))
    require(ours == theirs, "a special was forged", ours, theirs, *facts)


def _twins(
    renderer: Renderer, conversation: Conversation, specials: Sequence[str] | None, *, in_ids: bool = True
) -> tuple[Conversation, Conversation]:
    """Return a conversation that spells specials in all its strings, and one of the same shape that spells none."""
    every = tuple(renderer.encoder.specials)
    own = [text for text in renderer.family.specials if text in renderer.encoder.specials]
    wanted, also = (own, every) if specials is None else (specials, ())
    reasoning = renderer.family.reasoning
    markers = {reasoning.opener, reasoning.closer, *_THINK} if reasoning else _THINK
    images = any(isinstance(message.get("content"), list) for message in conversation[0])
    never = IMAGE_TOKENS if images else frozenset[str]()
    text, answer = (_spelling(wanted, also, spared) for spared in (never, never | markers))
    plain = twins.plain(every)
    evil = twins.rewritten(conversation, twins.Writers(text, answer, text if in_ids else str))
    return evil, twins.rewritten(evil, twins.Writers(plain, plain, plain if in_ids else str))


def _spelling(wanted: Sequence[str], also: Sequence[str], never: Collection[str]) -> twins.Write:
    """Return a function that spells specials in a string, and puts words in the place of those in `never`."""
    spell = twins.spelling(*([text for text in texts if text not in never] for texts in (wanted, also)))
    unspell = twins.plain(sorted(never))
    return lambda text: spell(unspell(text))


def extension(renderer: Renderer, conversation: Conversation, new: Conversation) -> bool:
    """Check that a bridge keeps every previous id, and where the format keeps history equals a fresh render.

    The conversation ends with an assistant turn, which is taken as sampled with its close, unless the one
    before it is not at its end there. A completion that lacks the close gives the same ids. A bridge raises, or is
    granted, only where a render does so too.

    Returns:
        Whether the bridge was granted.
    """
    messages, tools = conversation
    if len(messages) == 1:
        return False
    prompt = renderer.render(messages[:-1], tools, True)
    full = renderer.render(messages, tools)
    if full.token_ids[: len(prompt)] != prompt.token_ids or _goes_on(full, len(prompt)):
        return False
    completion = full.token_ids[len(prompt) : _sampled_end(full, len(prompt))]
    media = prompt.multi_modal_data
    close = _close_of(renderer, renderer.chat([*messages, *new[0]], tools), len(messages), completion)
    try:
        bridged = renderer.bridge_to_next_turn(prompt.token_ids, completion + close, new[0], tools, media)
    except ConversationError:
        bridged = None
        require(_refused(renderer, [*messages, *new[0]], tools), "a bridge raises where a render does not", new)
    if bridged is None:
        return False
    previous = prompt.token_ids + completion + close
    require(bridged.token_ids[: len(previous)] == previous, "a bridge rewrote ids", conversation, new)
    if close:
        unclosed = renderer.bridge_to_next_turn(prompt.token_ids, completion, new[0], tools, media)
        require(unclosed and unclosed.token_ids == bridged.token_ids, "the close is given twice, or not", new)
    extended = renderer.extend(prompt, completion + close, new[0], tools)
    assert extended is not None
    same = extended.token_ids == bridged.token_ids and extended.multi_modal_data == bridged.multi_modal_data
    require(same, "extend and bridge differ", conversation, new)
    _check_fresh(renderer, extended, conversation, new)
    return True


def _check_fresh(renderer: Renderer, extended: RenderedTokens, conversation: Conversation, new: Conversation) -> None:
    """Check that an extension can be rendered, and equals a fresh render where the format keeps history.

    Nobody owns its generation prompt.
    """
    messages, facts = [*conversation[0], *new[0]], (conversation, new)
    family = renderer.family
    thinks_on = family.has_reasoning and family.keeps_reasoning(renderer.chat(messages, conversation[1]))
    if not family.keeps_history and not thinks_on:
        require(not _refused(renderer, messages, conversation[1]), "a bridge is granted where a render is refused", new)
        return
    fresh = renderer.render(messages, conversation[1], True)
    require(extended.token_ids == fresh.token_ids, "a bridge is no fresh render", *facts)
    require(extended.multi_modal_data == fresh.multi_modal_data, "a bridge has other media", *facts)
    require(extended.sampled_mask == fresh.sampled_mask, "extend samples unlike a fresh render", *facts)


def _refused(renderer: Renderer, messages: convert.Messages, tools: convert.Tools) -> bool:
    """Return whether a conversation is refused."""
    try:
        renderer.render(messages, tools)
    except (ConversationError, TemplateError):
        return True
    return False


def _sampled_end(rendered: RenderedTokens, start: int) -> int:
    """Return the position at which sampling of the last message stopped, at least `start`."""
    last = len(rendered.message_roles) - 1
    return max((stop for run, (_, stop) in rendered.spans() if run.body and run.message == last), default=start)


def _goes_on(rendered: RenderedTokens, position: int) -> bool:
    """Return whether what stands at a position is sampled, and not of the last message."""
    last = len(rendered.message_roles) - 1
    return position < len(rendered) and rendered.sampled_mask[position] and rendered.message_indices[position] != last


def _close_of(renderer: Renderer, chat: Chat, index: int, completion: tuple[int, ...]) -> tuple[int, ...]:
    """Return the close that a completion lacks: message `index` has it, or the turn has it where a message follows."""
    family, specials = renderer.family, renderer.encoder.specials
    if family.turn_close is None:
        return _close_by_next(renderer, chat, index)
    if not completion or completion[-1] in {specials.get(text) for text in family.stop_tokens}:
        return ()
    try:
        followed = list(family.turn(chat, index - 1))
    except (ConversationError, TemplateError):
        return ()
    return (specials[family.turn_close],) if followed and is_special(followed[-1], family.turn_close) else ()


def _close_by_next(renderer: Renderer, chat: Chat, index: int) -> tuple[int, ...]:
    """Return the ids by which message `index` closes the turn before it, in formats that close so."""
    if renderer.family.turn_close is not None:
        return ()
    return tuple(renderer.encoder.specials[segment.text] for segment in closing(renderer.family, chat, index))


def inverse(renderer: Renderer, conversation: Conversation) -> None:
    """Check that parsing a rendered assistant turn returns its calls in order, and a turn that renders to the same ids.

    Tools declare the types of arguments, since formats that quote nothing need them. A turn without reasoning counts as
    one with empty reasoning, with a blank that the format strips, or with the reasoning spelled in the content (after
    which some formats trim less).
    """
    messages, tools = conversation
    chat = renderer.chat(messages, tools)
    last = chat.messages[-1]
    require(isinstance(last, AssistantMessage), "the conversation must end with an assistant turn")
    assert isinstance(last, AssistantMessage)
    ids, prompt = _sampled_turn(renderer, chat)
    types = _argument_types(renderer, last.tool_calls)
    parsed = renderer.parse_response(ids, _declared(types), prompt_ids=prompt)
    require(all(call.status == "ok" for call in parsed.tool_calls), "a rendered call was not read", parsed)
    calls = [(call.name, _compared(renderer, types[call.name or ""], call.arguments)) for call in parsed.tool_calls]
    wanted = [(call.name, _compared(renderer, types[call.name], arguments_object(call))) for call in last.tool_calls]
    require(calls == wanted, "calls differ", calls, wanted)
    answers = _answers(renderer, parsed, last.tool_calls)
    again = (_sampled_turn(renderer, Chat((*chat.messages[:-1], answer), chat.tools))[0] for answer in answers)
    require(ids in again, "what was parsed renders differently", parsed, last)


def _answers(renderer: Renderer, parsed: ParsedResponse, calls: tuple[ToolCall, ...]) -> Iterator[AssistantMessage]:
    """Yield the messages that a parsed response may stand for.

    Calls are those that were rendered, since their JSON text may vary.
    """
    thought, markers = parsed.reasoning_content or "", renderer.family.reasoning
    for reasoning in (thought, parsed.reasoning_content, " " if parsed.reasoning_content == "" else thought):
        yield AssistantMessage(parsed.content, reasoning_content=reasoning, tool_calls=calls)
    if markers is not None:
        yield AssistantMessage(f"{markers.opener}{thought}{markers.closer}{parsed.content}", tool_calls=calls)


Types = dict[str, dict[str, set[str]]]
"""By name and argument, the JSON types that the calls of a turn give it."""


def _argument_types(renderer: Renderer, calls: Sequence[ToolCall]) -> Types:
    types: Types = {}
    for call in calls:
        arguments = types.setdefault(call.name, {})
        for key, value in arguments_object(call).items():
            arguments.setdefault(renderer.encoder.normalize(key), set()).add(_json_type(value))
    return types


def _json_type(value: Json) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null", list: "array"}
    return names.get(type(value), "object")


def _declared(types: Types) -> list[dict[str, Json]]:
    """Return tools that declare these types."""
    return [
        {"name": name, "parameters": {"properties": {key: {"type": sorted(kinds)} for key, kinds in arguments.items()}}}
        for name, arguments in types.items()
    ]


def _compared(renderer: Renderer, types: Mapping[str, set[str]], arguments: Mapping[str, Json] | None) -> str:
    """Return arguments as text to compare.

    An argument that is a string in one call and another type in the next is compared by its spelling.
    """
    normalize = renderer.encoder.normalize
    normalized = {normalize(key): value for key, value in (arguments or {}).items()}
    unsure = {key for key, names in types.items() if len(names) > 1 and "string" in names}
    shown: Json = {key: _spelled(value) if key in unsure else value for key, value in normalized.items()}
    return normalize(json_text(_sorted(shown) if renderer.family.sorts_arguments else shown))


def _sorted(value: Json) -> Json:
    """Return a value with the keys of every object in order."""
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return value if isinstance(value, str) or not isinstance(value, Sequence) else [_sorted(item) for item in value]


def _spelled(value: Json) -> str:
    return value if isinstance(value, str) else json_text(value)


def _sampled_turn(renderer: Renderer, chat: Chat) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids sampled for the last message of a chat, and the ids before them."""
    rendered = renderer.render_chat(chat)
    index = len(chat.messages) - 1
    spans = [span for run, span in rendered.spans() if run.body and run.message == index]
    start = spans[0][0] if spans else len(rendered)
    return rendered.token_ids[start : _sampled_end(rendered, start)], rendered.token_ids[:start]


def parsing(renderer: Renderer, token_ids: Sequence[int], tools: convert.Tools = None) -> None:
    """Check that parsing any ids never raises, keeps every attempted call inside the ids, and invents no text."""
    parsed = renderer.parse_response(token_ids, tools)
    for call in parsed.tool_calls:
        start, end = call.token_span
        require(0 <= start < end <= len(token_ids), "a call's span is outside the ids", call)
        require(call.status != "ok" or (call.name and isinstance(call.arguments, dict)), "an ok call lacks parts", call)


def drafts(renderer: Renderer, token_ids: Sequence[int], drafted: Sequence[int], prompt_ids: Sequence[int]) -> bool:
    """Check that all that is sampled before a closer of reasoning is read as reasoning, whatever markers it holds.

    Args:
        renderer: The format.
        token_ids: A sampled turn.
        drafted: Ids put in before the first closer of its reasoning, none of which closes it or stops sampling.
        prompt_ids: The ids before the turn.

    Returns:
        Whether the turn has reasoning that is closed; another is not tried.
    """
    markers = renderer.family.reasoning
    closer = None if markers is None else renderer.encoder.specials.get(markers.closer)
    plain = renderer.parse_response(token_ids, prompt_ids=prompt_ids)
    opened = plain.reasoning_content is not None and plain.reasoning_complete
    if not opened or closer is None or closer not in token_ids:
        return False
    place = list(token_ids).index(closer)
    parsed = renderer.parse_response([*token_ids[:place], *drafted, *token_ids[place:]], prompt_ids=prompt_ids)
    for what, ours, theirs in (
        ("content", parsed.content, plain.content),
        ("calls", _read(parsed), _read(plain)),
        ("complete reasoning", parsed.reasoning_complete, True),
    ):
        require(ours == theirs, f"a draft in reasoning changes {what}", ours, theirs, drafted)
    spelled = renderer.encoder.decode_bytes(drafted).decode("utf-8", "replace").strip()
    require(spelled in (parsed.reasoning_content or ""), "a draft in reasoning is lost", parsed, spelled)
    return True


def _read(parsed: ParsedResponse) -> list[tuple[str, str | None, object]]:
    return [(call.status, call.name, call.arguments) for call in parsed.tool_calls]
