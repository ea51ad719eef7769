"""Conformance of a format: its text, ids and attribution held to the model's own template, and every law tried.

One list of checks serves `isc check` and `isc.testing.check_family`. Nothing here needs Hypothesis.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from isc import laws, roundtrips
from isc.errors import Error
from isc.laws import Conversation, LawError, Reference
from isc.render import Renderer
from isc.rendered import RenderedTokens
from isc.segments import is_special
from isc.strategies import Shape, Writer

Status: TypeAlias = Literal["holds", "fails", "told", "not tried"]

BUILT_IN = 40
_SHOWN = 3


class Finding(Struct, frozen=True):
    """One place where a check found something: the conversation by name, and what it was."""

    conversation: str
    detail: str


class Outcome(Struct, frozen=True):
    """What a check came to over all conversations.

    `status`: `holds`, `fails`; `told` for facts that are no failure but must be known, `not tried` with the reason as
    the only finding. `tried` counts conversations, `findings` holds the first few of `found`.
    """

    check: str
    status: Status
    tried: int
    found: int
    findings: tuple[Finding, ...] = ()


class CheckReport(Struct, frozen=True):
    """All outcomes for one renderer; `holds` is whether none fails."""

    family: str
    outcomes: tuple[Outcome, ...]

    @property
    def holds(self) -> bool:
        """Whether no check fails."""
        return all(outcome.status != "fails" for outcome in self.outcomes)


Named: TypeAlias = tuple[str, Conversation]
Check: TypeAlias = Callable[[Conversation], Iterator[str]]
"""What is wrong with one conversation, or has to be told of it: nothing where all is well."""


def built_in(shape: Shape, count: int = BUILT_IN) -> Iterator[Named]:
    """Conversations made from fixed seeds, always the same."""
    for seed in range(count):
        yield f"built-in {seed}", Writer(random.Random(seed), shape).conversation()


def check(
    family: str,
    renderer: Renderer,
    conversations: Iterable[Named],
    reference: Reference | None = None,
    traced: Renderer | None = None,
) -> CheckReport:
    """Hold a renderer to its template and to the laws.

    Args:
        family: What the format is called in the report.
        renderer: Format and vocabulary.
        conversations: What to try, by name. What the format refuses with an `isc.Error` is told, not failed.
        reference: The model's own template and tokenizer; without it parity is not tried.
        traced: The model's template as a traced family on the same vocabulary; without it attribution is not compared.

    Returns:
        An outcome for every check.
    """
    named, refused = _taken(renderer, conversations)
    without = "needs the model's own chat template"
    text = ids = cut = attribution = None
    if reference is not None:
        text, ids, cut = (one(renderer, reference) for one in (_text_parity, _id_parity, _cut_tokens))
    if traced is not None:
        attribution = _attribution_parity(renderer, traced)
    outcomes = [
        refused,
        _outcome("text parity", named, text, without),
        _outcome("id parity", named, ids, without),
        _outcome("tokens across a sampling cut", named, cut, without, told=True),
        _outcome("attribution parity", named, attribution, without),
        *(_outcome(name, named, _law(law, renderer)) for name, law in _LAWS.items()),
        _outcome("forgery: bodies that spell every special", named[:1], _forgery(renderer)),
        _outcome("parsing is the inverse", named, _inverse(renderer)),
        _outcome("prefix stability", named, _prefix(renderer), told=not renderer.is_prefix_stable),
        _outcome("stops are trained", named, _untrained_stops(renderer)),
        _outcome("masks are not empty", named, _empty_masks(renderer)),
    ]
    return CheckReport(family, tuple(outcomes))


_LAWS: dict[str, Callable[[Renderer, Conversation], None]] = {
    "every token has its owner": laws.ownership,
    "no body byte is lost": laws.body,
    "what is sampled": laws.sampled,
    "fold is a homomorphism": laws.homomorphism,
    "no forgery": laws.no_forgery,
}


def _taken(renderer: Renderer, conversations: Iterable[Named]) -> tuple[list[Named], Outcome]:
    """The conversations that the format renders, and those that it refuses."""
    taken: list[Named] = []
    refused: list[Finding] = []
    for name, conversation in conversations:
        try:
            renderer.render(*conversation)
        except Error as error:
            refused.append(Finding(name, str(error)))
        else:
            taken.append((name, conversation))
    tried = len(taken) + len(refused)
    status: Status = "fails" if tried and not taken else "told" if refused else "holds"
    return taken, Outcome("conversations are rendered", status, tried, len(refused), tuple(refused[:_SHOWN]))


def _outcome(
    name: str, named: Sequence[Named], tried: Check | None, reason: str = "", *, told: bool = False
) -> Outcome:
    if tried is None:
        return Outcome(name, "not tried", 0, 0, (Finding("", reason),))
    findings = [Finding(label, detail) for label, conversation in named for detail in _details(tried, conversation)]
    status: Status = "holds" if not findings else "told" if told else "fails"
    return Outcome(name, status, len(named), len(findings), tuple(findings[:_SHOWN]))


def _details(tried: Check, conversation: Conversation) -> list[str]:
    try:
        return list(tried(conversation))
    except LawError as error:
        return [str(error)]
    except Error as error:
        return [f"{type(error).__name__}: {error}"]


def _law(law: Callable[[Renderer, Conversation], None], renderer: Renderer) -> Check:
    def tried(conversation: Conversation) -> Iterator[str]:
        law(renderer, conversation)
        return iter(())

    return tried


def _text_parity(renderer: Renderer, reference: Reference) -> Check:
    def tried(conversation: Conversation) -> Iterator[str]:
        for asked in (False, True):
            theirs = reference.text(conversation, add_generation_prompt=asked)
            ours = "".join(segment.text for segment in renderer.segments(*conversation, asked))
            if ours != theirs:
                yield laws.difference(ours, theirs)

    return tried


def _id_parity(renderer: Renderer, reference: Reference) -> Check:
    def tried(conversation: Conversation) -> Iterator[str]:
        for asked in (False, True):
            laws.parity(renderer, conversation, reference, add_generation_prompt=asked)
        return iter(())

    return tried


def _cut_tokens(renderer: Renderer, reference: Reference) -> Check:
    def tried(conversation: Conversation) -> Iterator[str]:
        for token in laws.parity(renderer, conversation, reference):
            before, after = token.text[: token.cut], token.text[token.cut :]
            yield f"{before!r}|{after!r} is one token where the sampler's prompt ended"

    return tried


def _attribution_parity(renderer: Renderer, traced: Renderer) -> Check:
    def tried(conversation: Conversation) -> Iterator[str]:
        for asked in (False, True):
            ours, theirs = renderer.render(*conversation, asked), traced.render(*conversation, asked)
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


def _forgery(renderer: Renderer) -> Check:
    def tried(_: Conversation) -> Iterator[str]:
        for text in renderer.encoder.specials:
            laws.no_forgery(renderer, ([{"role": "user", "content": f"a{text}b{text}"}], None))
        return iter(())

    return tried


def _inverse(renderer: Renderer) -> Check:
    def tried(conversation: Conversation) -> Iterator[str]:
        if conversation[0][-1]["role"] == "assistant":
            roundtrips.inverse(renderer, conversation)
        return iter(())

    return tried


def _prefix(renderer: Renderer) -> Check:
    """Which append breaks the prefix, and where: what follows an assistant turn must leave all before it as it is."""

    def tried(conversation: Conversation) -> Iterator[str]:
        messages, tools = conversation
        for end in range(1, len(messages)):
            if messages[end - 1]["role"] != "assistant":
                continue
            shorter, longer = (renderer.render_ids(messages[:k], tools) for k in (end, end + 1))
            same = next((k for k, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(shorter))
            if same < len(shorter) - 1:
                role = messages[end]["role"]
                yield f"appending message {end} ({role}) changes ids before it from token {same} of {len(shorter)} on"

    return tried


def _untrained_stops(renderer: Renderer) -> Check:
    stops = renderer.family.stop_tokens

    def tried(conversation: Conversation) -> Iterator[str]:
        segments = list(renderer.segments(*conversation))
        last = len(conversation[0]) - 1
        for index, message in enumerate(conversation[0]):
            drawn = [s for s in segments if s.message == index and s.body] if message["role"] == "assistant" else []
            ends_open = renderer.family.turn_close is None and index == last
            if drawn and not ends_open and not is_special(drawn[-1], *stops):
                yield f"message {index} ends with {drawn[-1].text[-20:]!r}, at which nothing stops: {', '.join(stops)}"

    return tried


def _empty_masks(renderer: Renderer) -> Check:
    def tried(conversation: Conversation) -> Iterator[str]:
        counts = renderer.render(*conversation).tokens_per_message(sampled_only=True)
        for index, message in enumerate(conversation[0]):
            said = message.get("content") or message.get("tool_calls")
            if message["role"] == "assistant" and said and not counts[index]:
                yield f"message {index} is an assistant turn of which nothing is sampled: nothing to train on"

    return tried
