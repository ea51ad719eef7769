"""Conformance of a format: its text, ids and attribution held to the model's own template, and every law tried.

One list of checks serves `isc check` and `isc.testing.check_family`. Nothing here needs Hypothesis.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Literal, TypeAlias

from msgspec import Struct, structs

from isc import convert
from isc._json import json_text
from isc._runs import shared
from isc._sources import Source, TemplateChoice
from isc.conversation.bridge import WholeFormat
from isc.conversation.renderer import Renderer
from isc.encoding.base import Encoder
from isc.encoding.encoders import VocabularyEncoder
from isc.errors import Error, shown
from isc.formats._shape import Shape
from isc.formats.base import Family
from isc.formats.catalogue import family_name
from isc.formats.segments import is_special
from isc.loading import create_renderer, declared_stops, known_family, load_encoder, traced
from isc.rendered import RenderedTokens
from isc.testing import laws
from isc.testing.judging import Judge, decodes, masks, probes, untrained
from isc.testing.laws import LawError, Reference
from isc.testing.reference import FileReference
from isc.testing.strategies import Writer, shape_of
from isc.testing.twins import Conversation
from isc.types import Json, Segment

Message: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[Conversation], Iterator[str]]
"""What is wrong with one conversation, or has to be told of it: nothing where all is well."""
Rendering: TypeAlias = Callable[[Conversation, bool], RenderedTokens]
"""A conversation's ids, with a generation prompt or without."""


def law(law: Callable[[Renderer, Conversation], None], renderer: Renderer) -> Check:
    """Make a check of a law of `isc.testing`, which raises where it does not hold."""

    def tried(conversation: Conversation) -> Iterator[str]:
        law(renderer, conversation)
        return iter(())

    return tried


def text_parity(renderer: Renderer, reference: Reference) -> Check:
    """Check that the text equals the template's, with and without a generation prompt."""

    def tried(conversation: Conversation) -> Iterator[str]:
        for asked in (False, True):
            theirs = reference.text(conversation, add_generation_prompt=asked)
            ours = "".join(segment.text for segment in renderer.segments(*conversation, asked))
            if ours != theirs:
                yield laws.difference(ours, theirs)

    return tried


def id_parity(renderer: Renderer, reference: Reference) -> Check:
    """Check that ids equal the reference's, except at sampling cuts."""

    def tried(conversation: Conversation) -> Iterator[str]:
        for asked in (False, True):
            laws.parity(renderer, conversation, reference, add_generation_prompt=asked)
        return iter(())

    return tried


def cut_tokens(renderer: Renderer, reference: Reference) -> Check:
    """Report the tokens of the reference that span a place where a sampler's prompt ended."""

    def tried(conversation: Conversation) -> Iterator[str]:
        for token in laws.parity(renderer, conversation, reference):
            before, after = token.text[: token.cut], token.text[token.cut :]
            yield f"{before!r}|{after!r} is one token where the sampler's prompt ended"

    return tried


def prepared(family: Family, conversation: Conversation) -> Mapping[str, Json]:
    """Return the template variables that a format gives in place of the caller's; most give none."""
    chat = convert.chat(*conversation, reads_key=family.reads_key, extra_roles=family.extra_roles)
    return family.template_variables(chat)


def arguments_given_otherwise(renderer: Renderer) -> Check:
    """Report conversations whose JSON-text arguments the template is given as objects, in parity too."""

    def tried(conversation: Conversation) -> Iterator[str]:
        if "messages" in prepared(renderer.family, conversation):
            yield "arguments are given as the objects that their JSON text says: the template would quote the text"

    return tried


def texts_given_otherwise(renderer: Renderer, reference: Reference) -> Check:
    """Report conversations whose lists of texts the template is given as one text each, in parity too."""

    def tried(conversation: Conversation) -> Iterator[str]:
        if _as_shown(renderer, reference, conversation) is not conversation:
            yield "lists of texts are given as the one text that they are: the template would show them otherwise"

    return tried


def _as_shown(renderer: Renderer, reference: Reference, conversation: Conversation) -> Conversation:
    """Return a conversation with each list of texts in one, where a format joins them and its template does not.

    Some templates show nothing of a list.
    """
    messages, tools = conversation
    joined = [_with_one_text(message) for message in messages], tools
    if joined == conversation or renderer.render_ids(*joined) != renderer.render_ids(*conversation):
        return conversation
    theirs = [reference.text(given, add_generation_prompt=False) for given in (conversation, joined)]
    return conversation if theirs[0] == theirs[1] else joined


def _with_one_text(message: Message) -> Message:
    """Return a message with the texts of its content in one, if these are all that it shows."""
    parts = message.get("content")
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) and "text" in part for part in parts):
        return message
    return {**message, "content": "".join(part["text"] for part in parts)}


def by_template(family: Family, template: WholeFormat, encoder: Encoder) -> Rendering:
    """Return a function that renders by a family's template, traced, with the variables of the model's tokenizer."""

    def rendering(conversation: Conversation, asked: bool) -> RenderedTokens:
        messages, tools = conversation
        variables: dict[str, Any] = {"tools": tools, **prepared(family, conversation)}
        given = variables.pop("tools")
        return Renderer(template.with_options(variables), encoder).render(messages, given, asked)

    return rendering


def attribution_parity(renderer: Renderer, traced: Rendering) -> Check:
    """Check that owners and bodies equal those of the traced template."""

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
    place = shared(*columns)
    text = renderer.encoder.decode_bytes(ours.token_ids[max(0, place - 3) : place + 3]).decode("utf-8", "replace")
    found = [column[place] if place < len(column) else None for column in columns]
    return f"token {place} near {text!r}: (id, message, body) is {found[0]} by the family, {found[1]} by the template"


def forgery(renderer: Renderer) -> Check:
    """Check that no special of the vocabulary becomes a control token when every string of a caller spells it."""

    def tried(conversation: Conversation) -> Iterator[str]:
        for text in renderer.encoder.specials:
            try:
                laws.no_forgery(renderer, conversation, specials=(text,))
            except LawError as error:
                yield f"a conversation that spells {text!r} has other special tokens than its twin without: {error}"

    return tried


def _richest(named: Sequence[Named]) -> Sequence[Named]:
    """Return the conversation that says most, to be tried with every special of a vocabulary."""
    return sorted(named, key=lambda labelled: len(json_text(labelled[1])))[-1:]


def inverse(renderer: Renderer) -> Check:
    """Check that parsing a last assistant turn returns that turn.

    Its calls are tried without ids: where a format tells a call's function by the id, another one does not tell it.
    """

    def tried(conversation: Conversation) -> Iterator[str]:
        messages, tools = conversation
        if messages[-1]["role"] == "assistant":
            laws.inverse(renderer, ([*messages[:-1], _without_ids(messages[-1])], tools))
        return iter(())

    return tried


def _without_ids(message: Message) -> Message:
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [{**call, "id": None} for call in calls]} if calls else message


def prefix(renderer: Renderer) -> Check:
    """Report each append after an assistant turn that changes ids before it, and where."""

    def tried(conversation: Conversation) -> Iterator[str]:
        messages, tools = conversation
        for end in range(1, len(messages)):
            if messages[end - 1]["role"] == "assistant":
                yield from _broken(renderer, messages[: end + 1], tools)

    return tried


def _broken(renderer: Renderer, messages: list[Message], tools: list[Message] | None) -> Iterator[str]:
    """Yield a finding if the last message changes the ids before it. A refused conversation yields none."""
    try:
        shorter, longer = (renderer.render_ids(found, tools) for found in (messages[:-1], messages))
    except Error:
        return
    same = shared(shorter, longer)
    if same < len(shorter) - 1:
        appended = f"appending message {len(messages) - 1} ({messages[-1]['role']})"
        yield f"{appended} changes ids before it from token {same} of {len(shorter)} on"


def untrained_stops(renderer: Renderer, stops: Sequence[str]) -> Check:
    """Check that every assistant turn ends with one of these stops.

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
    """Check that every assistant turn that says something has sampled tokens."""

    def tried(conversation: Conversation) -> Iterator[str]:
        counts = renderer.render(*conversation).tokens_per_message(sampled_only=True)
        for index, message in enumerate(conversation[0]):
            said = message.get("content") or message.get("tool_calls")
            if message["role"] == "assistant" and said and not counts[index]:
                yield f"message {index} is an assistant turn of which nothing is sampled: nothing to train on"

    return tried


Status: TypeAlias = Literal["pass", "fail", "info", "skipped"]

BUILT_IN = 40
_SHOWN = 3
_LONGEST = 400
"""Characters of the segments of a finding."""


class Finding(Struct, frozen=True):
    """One place where a check found something: the conversation by name, and what it was."""

    conversation: str
    detail: str


class Outcome(Struct, frozen=True):
    """What a check came to over all conversations.

    `status`: `pass`, `fail`; `info` for facts that are no failure but must be known; `skipped` with the reason as the
    only finding. `tried` counts conversations, `findings` holds the first few of `found`.
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
        """Return whether no check fails."""
        return all(outcome.status != "fail" for outcome in self.outcomes)


Named: TypeAlias = tuple[str, Conversation]


def built_in(shape: Shape, count: int = BUILT_IN) -> Iterator[Named]:
    """Yield conversations made from fixed seeds, always the same."""
    for seed in range(count):
        yield f"built-in {seed}", Writer(random.Random(seed), shape).conversation()


def check(
    family: str,
    renderer: Renderer,
    conversations: Iterable[Named],
    reference: Reference | None = None,
    traced: Rendering | None = None,
    stops: Sequence[str] = (),
    shape: Shape | None = None,
) -> CheckReport:
    """Hold a renderer to its template and to the laws.

    Args:
        family: What the format is called in the report.
        renderer: Format and vocabulary.
        conversations: What to try, by name. What the format refuses with an `isc.Error` is `info`, no failure.
        reference: The model's own template and tokenizer; without it parity is skipped.
        traced: Renders by the model's template, traced, on the same vocabulary; without it attribution is not compared.
        stops: The specials at which the model's own files say that sampling stops; empty takes the family's.
        shape: What the format takes, for conversations of planted words, by which the template is judged; None for
            none.

    Returns:
        An outcome for every check.
    """
    given, refused = _taken(renderer, reference, conversations)
    named = given
    if reference is not None:
        named = [(name, _as_shown(renderer, reference, conversation)) for name, conversation in given]
    planted = _planted(renderer, reference, shape)
    known = not isinstance(renderer.family, WholeFormat)  # a template on its own may have no grammar that is known
    ends = untrained_stops(renderer, stops or renderer.family.stop_tokens)
    outcomes = [
        refused,
        _texts_given(renderer, reference, given),
        *_parity(renderer, reference, traced, named),
        *(_outcome(name, named, law(held, renderer)) for name, held in _LAWS.items()),
        _outcome("forgery: strings that spell every special", _richest(named), forgery(renderer)),
        _outcome("parsing is the inverse", named, inverse(renderer), told=not known),
        _outcome("prefix stability", named, prefix(renderer), told=not renderer.is_prefix_stable),
        _outcome("stops are trained", [*named, *planted], ends, told=renderer.family.tells_ending),
        _outcome("masks are not empty", [*named, *planted], empty_masks(renderer)),
        *_judged(renderer, reference, named, planted, stops or renderer.family.stop_tokens),
    ]
    return CheckReport(family, tuple(outcomes))


def _texts_given(renderer: Renderer, reference: Reference | None, named: Sequence[Named]) -> Outcome:
    check = None if reference is None else texts_given_otherwise(renderer, reference)
    return _outcome("texts are given as they are", named, check, _WITHOUT, told=True)


def _parity(
    renderer: Renderer, reference: Reference | None, traced: Rendering | None, named: Sequence[Named]
) -> Iterator[Outcome]:
    """Compare text, ids and attribution with the template's."""
    text = ids = cut = None
    if reference is not None:
        text, ids, cut = (one(renderer, reference) for one in (text_parity, id_parity, cut_tokens))
    attribution = None if traced is None else attribution_parity(renderer, traced)
    yield _outcome("arguments are given as they are", named, arguments_given_otherwise(renderer), told=True)
    yield _outcome("text parity", named, text, _WITHOUT)
    yield _outcome("id parity", named, ids, _WITHOUT)
    yield _outcome("tokens across a sampling cut", named, cut, _WITHOUT, told=True)
    yield _outcome("attribution parity", named, attribution, _WITHOUT)


def _planted(renderer: Renderer, reference: Reference | None, shape: Shape | None) -> list[Named]:
    """Return the conversations of planted words that format and template render."""
    return [] if reference is None or shape is None else _taken(renderer, reference, probes(shape))[0]


def _judged(
    renderer: Renderer,
    reference: Reference | None,
    named: Sequence[Named],
    planted: Sequence[Named],
    stops: Sequence[str],
) -> Iterator[Outcome]:
    """Yield the outcomes of what is held to the template's own text alone."""
    judge = None if reference is None else Judge(renderer, reference)
    every = [*named, *planted]
    for name, (tried, on_planted, told) in _JUDGED.items():
        method = None if judge is None else partial(tried, judge)
        yield _outcome(name, planted if on_planted else every, method, _WITHOUT, told=told)
    judged_stops = None if judge is None else partial(Judge.stops_at_stop, judge, stops=stops)
    yield _outcome("turns end at their first stop", planted, judged_stops, _WITHOUT)
    files = reference if isinstance(reference, FileReference) else None
    decoded = None if files is None else partial(decodes, renderer, files)
    yield _outcome("ids decode to the text", every, decoded, _WITHOUT)
    marks = None if judge is None or files is None else partial(masks, judge, files)
    yield _outcome("generation blocks", every, marks, _WITHOUT, told=True)
    never = untrained(renderer, stops, [conversation for _, conversation in every])
    yield _told_stops(every, never, len(stops))


def _told_stops(named: Sequence[Named], never: Sequence[str], stops: int) -> Outcome:
    """Report the stops that are never trained: most models declare more stops than end a turn.

    Where none is trained at all, a model would not learn to stop.
    """
    if not named:
        return Outcome("every stop is trained", "skipped", 0, 0, (Finding("", _NOTHING_RENDERED),))
    findings = tuple(Finding("", f"no turn ends at {stop}") for stop in never)
    status: Status = "pass" if not never else "fail" if len(never) == stops else "info"
    return Outcome("every stop is trained", status, len(named), len(never), findings[:_SHOWN])


_NOTHING_RENDERED = "no conversation that it needs was tried and rendered"
_WITHOUT = "needs the model's own chat template"
_JUDGED: dict[str, tuple[Callable[[Judge, Conversation], Iterator[str]], bool, bool]] = {
    "turns begin as prompts end": (Judge.begins_as_asked, True, False),
    "sampling starts where the prompt ends": (Judge.starts_at_prompt, False, False),
    "no header is sampled": (Judge.no_header_sampled, True, False),
    "no special is doubled": (Judge.specials_once, True, False),
    "everything said is shown": (Judge.everything_shown, True, False),
    "reasoning is shown": (Judge.reasoning_shown, True, True),
    "tools are shown": (Judge.tools_shown, True, False),
    "calls and reasoning are read back": (Judge.read_back, True, False),
    "bridges are fresh renders": (Judge.bridges, False, False),
}
"""Checks by the template's own text: whether only on planted conversations, and whether a finding is no failure."""


def check_model(
    source: str,
    family: Family | None,
    conversations: Callable[[Shape], Iterable[Named]],
    options: Callable[[Family], Family] = lambda family: family,
    *,
    template: str | None = None,
    tools: bool = True,
    planted: bool = True,
) -> CheckReport:
    """Hold a model's family, or its own template where no family is known, to the model's files and to the laws.

    Args:
        source: Hub id or directory.
        family: The chat format; None takes the known one, else the template itself, traced.
        conversations: What to try, for the shape of chats that the format takes.
        options: What sets the options of the format that was found.
        template: Which of the model's own chat templates, by its name; None as `isc.load` takes it.
        tools: Whether the model is used with tools; without, none are offered, called or answered.
        planted: Whether conversations of planted words are tried besides.

    Raises:
        OptionError: The format has no such option; the model has no such template, or several and no default.
        LoadError: The model's files cannot be read.
        UnknownModelError: No family is given or known, and there is no chat template.
    """
    model, encoder = Source(source), load_encoder(source)
    known = family or known_family(model, template)
    known = known and options(known)
    moment = _moment(known)
    chosen = known or options(traced(model, encoder, now=moment.isoformat(), template=template))
    own, reference, traced_attribution = model.template_choice(template), None, None
    if own is not None:
        reference = _reference(model, encoder, chosen, moment, own)
        if not isinstance(chosen, WholeFormat):
            same = traced(model, encoder, chosen.template_arguments(), moment.isoformat(), template=template)
            traced_attribution = by_template(chosen, same, encoder)
    name = f"{source} as {family_name(chosen)}" if traced_attribution else f"{source} by its own template"
    shape = _tried_shape(chosen, tools=tools)
    declared = declared_stops(model, encoder)
    stops = (*chosen.stop_tokens, *declared) if known else declared
    renderer = create_renderer(encoder, chosen)
    return check(name, renderer, conversations(shape), reference, traced_attribution, stops, shape if planted else None)


def _reference(
    model: Source, encoder: VocabularyEncoder, family: Family, moment: datetime, own: TemplateChoice
) -> FileReference:
    """Return a model's templates and vocabulary under a family's options."""
    special = {name: model.special(name) for name in ("bos_token", "eos_token")}
    variables = {**special, **family.template_arguments()}
    files = (own.without_tools, model.vocabulary(), variables, moment, encoder.specials, partial(prepared, family))
    return FileReference(*files, own.with_tools)


def _tried_shape(family: Family, *, tools: bool) -> Shape:
    """Return the shape of the conversations that a model is tried on."""
    # few templates take JSON text as it is, and formats without quotes cannot tell every name from their tags
    shape = structs.replace(shape_of(family), text_arguments=False, keys=r"\w+")
    if tools:
        return shape
    roles = tuple(role for role in shape.roles if role != "tool")
    return structs.replace(shape, roles=roles, tools=False, offers_tools=False)


def _moment(family: Family | None) -> datetime:
    """Return the moment that the template's clock has to tell: the day that a family is set to, or the present."""
    day = None if family is None else family.day
    with suppress(ValueError):
        return datetime.fromisoformat(day or "")
    return datetime.now().astimezone()


_LAWS: dict[str, Callable[[Renderer, Conversation], None]] = {
    "every token has its owner": laws.ownership,
    "no body byte is lost": laws.body,
    "what is sampled": laws.sampled,
    "fold is a homomorphism": laws.homomorphism,
    "no forgery": laws.no_forgery,
}


def _taken(
    renderer: Renderer, reference: Reference | None, conversations: Iterable[Named]
) -> tuple[list[Named], Outcome]:
    """Return the conversations that format and template render, and the outcome for those that one of them refuses."""
    taken: list[Named] = []
    refused: list[Finding] = []
    for name, conversation in conversations:
        try:
            renderer.render(*conversation)
            if reference is not None:
                reference.text(conversation, add_generation_prompt=True)
        except Error as error:
            refused.append(Finding(name, str(error)))
        else:
            taken.append((name, conversation))
    tried = len(taken) + len(refused)
    status: Status = "fail" if not taken else "info" if refused else "pass"
    return taken, Outcome("conversations are rendered", status, tried, len(refused), tuple(refused[:_SHOWN]))


def _outcome(
    name: str, named: Sequence[Named], tried: Check | None, reason: str = "", *, told: bool = False
) -> Outcome:
    if tried is None:
        return Outcome(name, "skipped", 0, 0, (Finding("", reason),))
    if not named:
        return Outcome(name, "skipped", 0, 0, (Finding("", _NOTHING_RENDERED),))
    findings = [Finding(label, detail) for label, conversation in named for detail in _details(tried, conversation)]
    status: Status = "pass" if not findings else "info" if told else "fail"
    return Outcome(name, status, len(named), len(findings), tuple(findings[:_SHOWN]))


def _fact(fact: object) -> str:
    """Return what a law found for people: a text as it is, segments as their texts, of anything else the beginning."""
    if isinstance(fact, str):
        return fact
    facts: Sequence[object] = fact if isinstance(fact, Sequence) and fact else (fact,)
    segments = [one for one in facts if isinstance(one, Segment)]
    if len(segments) == len(facts):
        said = " + ".join(f"{'body' if one.body else 'scaffold'} {one.text!r}" for one in segments)
        return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
    return shown(fact)


def _details(tried: Check, conversation: Conversation) -> list[str]:
    try:
        return list(tried(conversation))
    except LawError as error:
        return ["; ".join(map(_fact, error.facts)) or str(error)]
    except Error as error:
        return [f"{type(error).__name__}: {error}"]
