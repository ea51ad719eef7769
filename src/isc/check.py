"""Conformance of a format: its text, ids and attribution held to the model's own template, and every law tried.

One list of checks serves `isc check` and `isc.testing.check_family`. Nothing here needs Hypothesis.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct, structs

from isc import checks, laws
from isc.catalogue import family_name
from isc.errors import Error
from isc.laws import Conversation, LawError, Reference
from isc.protocols import Family
from isc.reference import FileReference
from isc.registry import create_renderer, declared_stops, known_family, load_encoder, traced
from isc.render import Renderer
from isc.sources import Source
from isc.strategies import Shape, Writer, shape_of
from isc.types import Json

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


def built_in(shape: Shape, count: int = BUILT_IN) -> Iterator[Named]:
    """Conversations made from fixed seeds, always the same."""
    for seed in range(count):
        yield f"built-in {seed}", Writer(random.Random(seed), shape).conversation()


def check(
    family: str,
    renderer: Renderer,
    conversations: Iterable[Named],
    reference: Reference | None = None,
    traced: checks.Rendering | None = None,
    stops: Sequence[str] = (),
) -> CheckReport:
    """Hold a renderer to its template and to the laws.

    Args:
        family: What the format is called in the report.
        renderer: Format and vocabulary.
        conversations: What to try, by name. What the format refuses with an `isc.Error` is told, not failed.
        reference: The model's own template and tokenizer; without it parity is not tried.
        traced: Renders by the model's template, traced, on the same vocabulary; without it attribution is not compared.
        stops: The specials at which the model's own files say that sampling stops; empty takes the family's.

    Returns:
        An outcome for every check.
    """
    named, refused = _taken(renderer, reference, conversations)
    without = "needs the model's own chat template"
    known = isinstance(renderer.family, Struct)  # a template on its own may have no grammar that is known
    untrained = checks.untrained_stops(renderer, stops or renderer.family.stop_tokens)
    attribution = None if traced is None else checks.attribution_parity(renderer, traced)
    text = ids = cut = None
    if reference is not None:
        text, ids, cut = (one(renderer, reference) for one in (checks.text_parity, checks.id_parity, checks.cut_tokens))
    outcomes = [
        refused,
        _outcome("text parity", named, text, without),
        _outcome("id parity", named, ids, without),
        _outcome("tokens across a sampling cut", named, cut, without, told=True),
        _outcome("attribution parity", named, attribution, without),
        *(_outcome(name, named, checks.law(law, renderer)) for name, law in _LAWS.items()),
        _outcome("forgery: bodies that spell every special", named[:1], checks.forgery(renderer)),
        _outcome("parsing is the inverse", named, checks.inverse(renderer), told=not known),
        _outcome("prefix stability", named, checks.prefix(renderer), told=not renderer.is_prefix_stable),
        _outcome("stops are trained", named, untrained, told=hasattr(renderer.family, "ended")),
        _outcome("masks are not empty", named, checks.empty_masks(renderer)),
    ]
    return CheckReport(family, tuple(outcomes))


def check_model(source: str, family: Family | None, conversations: Callable[[Shape], Iterable[Named]]) -> CheckReport:
    """Hold a model's family, or its own template where no family is known, to the model's files and to the laws.

    Args:
        source: Hub id or directory.
        family: The chat format; None takes the known one, else the template itself, traced.
        conversations: What to try, for the shape of chats that the format takes.

    Raises:
        LoadError: The model's files cannot be read.
        UnknownModelError: No family is given or known, and there is no chat template.
    """
    model, encoder = Source(source), load_encoder(source)
    known = family or known_family(model)
    moment = _moment(known)
    chosen = known or traced(model, encoder, now=moment.isoformat())
    template = model.chat_template()
    declared = declared_stops(model, encoder)
    reference = by_template = None
    if template is not None:
        options = {name: model.special(name) for name in ("bos_token", "eos_token")} | options_of(chosen)
        prepare = partial(checks.prepared, chosen)
        reference = FileReference(template, model.vocabulary(), options, moment, encoder.specials, prepare)
        if isinstance(chosen, Struct):
            same = traced(model, encoder, options_of(chosen), moment.isoformat())
            by_template = checks.by_template(chosen, same, encoder)
    name = f"{source} as {family_name(chosen)}" if by_template else f"{source} by its own template"
    # few templates take JSON text as it is, and formats without quotes cannot tell every name from their tags
    shape = structs.replace(shape_of(chosen), text_arguments=False, keys=r"\w+")
    stops = (*chosen.stop_tokens, *declared) if isinstance(chosen, Struct) else declared
    return check(name, create_renderer(encoder, chosen), conversations(shape), reference, by_template, stops)


def _moment(family: Family | None) -> datetime:
    """What the template's clock has to tell: the day that a family is set to, or the present, which families tell."""
    day = getattr(family, "conversation_start_date", None)
    with suppress(ValueError):
        return datetime.fromisoformat(day or "")
    return datetime.now().astimezone()


def options_of(family: Family) -> dict[str, Json]:
    """A family's options as keyword arguments of its template; None is an option that is not set."""
    values = dict(msgspec.to_builtins(family)) if isinstance(family, Struct) else {}
    return {name: value for name, value in values.items() if name != "family" and value is not None}


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
    """The conversations that format and template render, and those that one of them refuses."""
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
    status: Status = "fails" if tried and not taken else "told" if refused else "holds"
    return taken, Outcome("conversations are rendered", status, tried, len(refused), tuple(refused[:_SHOWN]))


def _outcome(
    name: str, named: Sequence[Named], tried: checks.Check | None, reason: str = "", *, told: bool = False
) -> Outcome:
    if tried is None:
        return Outcome(name, "not tried", 0, 0, (Finding("", reason),))
    findings = [Finding(label, detail) for label, conversation in named for detail in _details(tried, conversation)]
    status: Status = "holds" if not findings else "told" if told else "fails"
    return Outcome(name, status, len(named), len(findings), tuple(findings[:_SHOWN]))


def _details(tried: checks.Check, conversation: Conversation) -> list[str]:
    try:
        return list(tried(conversation))
    except LawError as error:
        return [str(error)]
    except Error as error:
        return [f"{type(error).__name__}: {error}"]
