"""The checks of `isc.check`, one by one: each looks at a conversation and tells what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from isc import convert, laws, roundtrips
from isc.errors import Error
from isc.laws import Conversation, Reference
from isc.protocols import Encoder, Family
from isc.render import Renderer
from isc.rendered import RenderedTokens
from isc.segments import is_special
from isc.types import Json

if TYPE_CHECKING:
    from isc.template import TracedTemplate

Message: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[Conversation], Iterator[str]]
"""What is wrong with one conversation, or has to be told of it: nothing where all is well."""
Rendering: TypeAlias = Callable[[Conversation, bool], RenderedTokens]
"""A conversation's ids, with a generation prompt or without."""


def law(law: Callable[[Renderer, Conversation], None], renderer: Renderer) -> Check:
    """A law of `isc.laws`, which raises where it does not hold."""

    def tried(conversation: Conversation) -> Iterator[str]:
        law(renderer, conversation)
        return iter(())

    return tried


def text_parity(renderer: Renderer, reference: Reference) -> Check:
    """Text equals what the template renders, with and without a generation prompt."""

    def tried(conversation: Conversation) -> Iterator[str]:
        for asked in (False, True):
            theirs = reference.text(conversation, add_generation_prompt=asked)
            ours = "".join(segment.text for segment in renderer.segments(*conversation, asked))
            if ours != theirs:
                yield laws.difference(ours, theirs)

    return tried


def id_parity(renderer: Renderer, reference: Reference) -> Check:
    """Ids equal the reference's, but at sampling cuts."""

    def tried(conversation: Conversation) -> Iterator[str]:
        for asked in (False, True):
            laws.parity(renderer, conversation, reference, add_generation_prompt=asked)
        return iter(())

    return tried


def cut_tokens(renderer: Renderer, reference: Reference) -> Check:
    """Tokens of the reference that span a place where a sampler's prompt ended."""

    def tried(conversation: Conversation) -> Iterator[str]:
        for token in laws.parity(renderer, conversation, reference):
            before, after = token.text[: token.cut], token.text[token.cut :]
            yield f"{before!r}|{after!r} is one token where the sampler's prompt ended"

    return tried


def prepared(family: Family, conversation: Conversation) -> Mapping[str, Json]:
    """What the model's own tokenizer makes of a conversation's tools, by the template's variables; nothing for most."""
    tell = getattr(family, "template_variables", None)
    found: Mapping[str, Json] = {} if tell is None else tell(convert.chat(*conversation))
    return found


def by_template(family: Family, template: TracedTemplate, encoder: Encoder) -> Rendering:
    """How a family's template, traced, renders what the model's tokenizer passes to it."""

    def rendering(conversation: Conversation, asked: bool) -> RenderedTokens:
        messages, tools = conversation
        variables: dict[str, Any] = {"tools": tools, **prepared(family, conversation)}
        given = variables.pop("tools")
        return Renderer(template.with_options(variables), encoder).render(messages, given, asked)

    return rendering


def attribution_parity(renderer: Renderer, traced: Rendering) -> Check:
    """Owners and bodies equal those that the traced template tells."""

    def tried(conversation: Conversation) -> Iterator[str]:
        for asked in (False, True):
            ours, theirs = renderer.render(*conversation, asked), traced(conversation, asked)
            if (ours.token_ids, ours.runs) != (theirs.token_ids, theirs.runs):
                yield _first_difference(ours, theirs, renderer)

    return tried


def _first_difference(ours: RenderedTokens, theirs: RenderedTokens, renderer: Renderer) -> str:
    columns = [
        list(zip(rendered.token_ids, rendered.message_indices, rendered.is_content, strict=True))
        for rendered in (ours, theirs)
    ]
    place = next((k for k, (a, b) in enumerate(zip(*columns, strict=False)) if a != b), min(map(len, columns)))
    text = renderer.encoder.decode_bytes(ours.token_ids[max(0, place - 3) : place + 3]).decode("utf-8", "replace")
    found = [column[place] if place < len(column) else None for column in columns]
    return f"token {place} near {text!r}: (id, message, body) is {found[0]} by the family, {found[1]} by the template"


def forgery(renderer: Renderer) -> Check:
    """No special of the vocabulary, spelled in a body, becomes one, be it by the format itself."""

    def specials(body: str) -> list[str]:
        segments = renderer.segments([{"role": "user", "content": body}])
        return [segment.text for segment in segments if segment.kind == "special"]

    def tried(_: Conversation) -> Iterator[str]:
        wanted = specials("ab")
        for text in renderer.encoder.specials:
            if specials(f"a{text}b{text}") != wanted:
                yield f"a user message that spells {text!r} becomes that token"
            laws.no_forgery(renderer, ([{"role": "user", "content": f"a{text}b{text}"}], None))

    return tried


def inverse(renderer: Renderer) -> Check:
    """Parsing a last assistant turn returns it.

    Its calls are tried without ids: where a format tells a call's function by the id, another one does not tell it.
    """

    def tried(conversation: Conversation) -> Iterator[str]:
        messages, tools = conversation
        if messages[-1]["role"] == "assistant":
            roundtrips.inverse(renderer, ([*messages[:-1], _without_ids(messages[-1])], tools))
        return iter(())

    return tried


def _without_ids(message: Message) -> Message:
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [{**call, "id": None} for call in calls]} if calls else message


def prefix(renderer: Renderer) -> Check:
    """Which append breaks the prefix, and where: what follows an assistant turn must leave all before it as it is."""

    def tried(conversation: Conversation) -> Iterator[str]:
        messages, tools = conversation
        for end in range(1, len(messages)):
            if messages[end - 1]["role"] == "assistant":
                yield from _broken(renderer, messages[: end + 1], tools)

    return tried


def _broken(renderer: Renderer, messages: list[Message], tools: list[Message] | None) -> Iterator[str]:
    """Whether the last message changes the ids before it; a format that refuses one of the two tells nothing."""
    try:
        shorter, longer = (renderer.render_ids(found, tools) for found in (messages[:-1], messages))
    except Error:
        return
    same = next((k for k, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(shorter))
    if same < len(shorter) - 1:
        appended = f"appending message {len(messages) - 1} ({messages[-1]['role']})"
        yield f"{appended} changes ids before it from token {same} of {len(shorter)} on"


def untrained_stops(renderer: Renderer, stops: Sequence[str]) -> Check:
    """Every assistant turn ends with one of these stops.

    Where the next turn's marker closes a turn, only a user's or a tool's turn can close it so.
    """
    own_close = renderer.family.turn_close is not None

    def tried(conversation: Conversation) -> Iterator[str]:
        segments = list(renderer.segments(*conversation))
        roles = [message["role"] for message in conversation[0]]
        for index, (role, following) in enumerate(zip(roles, [*roles[1:], ""], strict=True)):
            if role != "assistant" or not (own_close or following in ("user", "tool")):
                continue
            drawn = [segment for segment in segments if segment.message == index and segment.body]
            if drawn and not is_special(drawn[-1], *stops):
                yield f"message {index} ends with {drawn[-1].text[-20:]!r}, at which nothing stops: {', '.join(stops)}"

    return tried


def empty_masks(renderer: Renderer) -> Check:
    """Every assistant turn that says something has sampled tokens."""

    def tried(conversation: Conversation) -> Iterator[str]:
        counts = renderer.render(*conversation).tokens_per_message(sampled_only=True)
        for index, message in enumerate(conversation[0]):
            said = message.get("content") or message.get("tool_calls")
            if message["role"] == "assistant" and said and not counts[index]:
                yield f"message {index} is an assistant turn of which nothing is sampled: nothing to train on"

    return tried
