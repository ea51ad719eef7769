"""Filters that make text, written again on traced strings; each gives the text that Jinja's own gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from jinja2 import filters as jinja_filters
from jinja2.exceptions import FilterArgumentError
from jinja2.filters import make_attrgetter
from jinja2.nodes import EvalContext
from jinja2.runtime import Undefined
from jinja2.utils import pass_environment, pass_eval_context, url_quote

from isc.traced.environment import ESCAPED, TracingEnvironment
from isc.traced.limits import LONGEST, SLOW, bounded, within
from isc.traced.markup import TracedMarkup, escaped_text, markup, markup_safe, plain
from isc.traced.printing import as_json, put_together
from isc.traced.strings import Traced, lost, mapped, runs_of, traced, whole_of
from isc.traced.values import TracedNone

_BY_PIECES: Final = LONGEST >> 5
"""Characters that a filter may be given that makes a list of small pieces of them first."""


def _text(environment: TracingEnvironment, value: object) -> Traced:
    """Return a value as the traced text that a filter works on."""
    text = value if isinstance(value, str) else environment.printed(value)
    return text if isinstance(text, Traced) else traced(text, runs_of(text))


def _of(state: EvalContext) -> TracingEnvironment:
    environment = state.environment
    assert isinstance(environment, TracingEnvironment)
    return environment


def counted(environment: TracingEnvironment, items: Iterable[Any]) -> Iterator[Any]:
    """Yield items and count a step for each, and its weight, since it may have been made for this."""
    for item in items:
        environment.meter.step()
        environment.weigh(item)
        yield item


def _method(name: str) -> Callable[..., object]:
    """Return a filter that is a method of strings."""

    @pass_environment
    def text_filter(environment: TracingEnvironment, value: object, *arguments: Any) -> object:  # noqa: ANN401
        return getattr(_text(environment, value), name)(*arguments)

    return text_filter


@pass_environment
def _center(environment: TracingEnvironment, value: object, width: int = 80) -> str:
    return _text(environment, value).center(width)


@pass_environment
def _trim(environment: TracingEnvironment, value: object, chars: str | None = None) -> str:
    if type(value) is str and chars is None and environment.containers is None:  # nothing is traced
        return value.strip()
    return _text(environment, value).strip(chars)


@pass_environment
def _title(environment: TracingEnvironment, value: object) -> str:
    text = _text(environment, value)
    within(len(text), _BY_PIECES)
    return mapped(text, jinja_filters.do_title(str.__str__(text)), str.title, "title")


@pass_eval_context
def _replace(state: EvalContext, value: object, old: object, new: object, count: int | None = None) -> str:
    environment = _of(state)
    if state.autoescape:
        for item in (value, old, new):
            within(bounded(item).characters, SLOW)
        return jinja_filters.do_replace(state, value, old, new, count)  # type: ignore[arg-type]
    text = plain(_text(environment, environment.printed(value)))
    return text.replace(environment.printed(old), environment.printed(new), -1 if count is None else count)


@pass_environment
def _string(environment: TracingEnvironment, value: object) -> str:
    return value if isinstance(value, str) else environment.printed(value)


@pass_eval_context
def _join(state: EvalContext, value: Any, d: Any = "", attribute: str | int | None = None) -> str:  # noqa: ANN401
    environment = _of(state)
    items = map(make_attrgetter(environment, attribute), value) if attribute is not None else value
    if state.autoescape:
        texts = [environment.escapable(item) for item in counted(environment, items)]
        sizes = sum(len(text) for text in texts if isinstance(text, str))
        within((sizes + bounded(d).characters * len(texts)) * ESCAPED)
        return jinja_filters.sync_do_join(state, texts, d)
    between = environment.printed(d)
    parts = [environment.printed(item) for item in counted(environment, items)]
    within(sum(map(len, parts)) + len(between) * len(parts))
    separated = list(chain.from_iterable((part, between) for part in parts))
    return put_together(separated[:-1])


@pass_environment
def _indent(
    environment: TracingEnvironment,
    s: object,
    width: int | str = 4,
    first: bool = False,
    blank: bool = False,
) -> str:
    margin = _text(environment, width if isinstance(width, str) else " " * within(width))
    newline = _text(environment, "\n")
    text = _text(environment, s)
    if isinstance(s, TracedMarkup):
        margin, newline = markup(margin), markup(newline)
    lines = (text + newline).splitlines()
    within(len(text) + len(lines) * len(margin))
    if blank:
        indented = (newline + margin).join(lines)
    else:
        rest = [margin + line if line else line for line in lines[1:]]
        indented = lines[0] + newline + newline.join(rest) if rest else lines[0]
    return margin + indented if first else indented


@pass_environment
def _truncate(environment: TracingEnvironment, s: object, *arguments: Any, **named: Any) -> object:  # noqa: ANN401
    text = s if not isinstance(s, str) else _text(environment, s)
    return jinja_filters.do_truncate(environment, text, *arguments, **named)  # type: ignore[arg-type]


@pass_environment
def _format(environment: TracingEnvironment, value: object, *arguments: object, **named: object) -> str:
    if arguments and named:
        raise FilterArgumentError("can't handle positional and keyword arguments at the same time")
    pattern = value if isinstance(value, str) else environment.printed(value)
    return environment.filled(pattern, named or arguments)


@pass_environment
def _escape(environment: TracingEnvironment, value: object) -> str:
    return escaped_text(value if isinstance(value, str) else environment.printed(value))


@pass_environment
def _forceescape(environment: TracingEnvironment, value: object) -> str:
    return escaped_text(plain(_text(environment, value)))


@pass_environment
def _safe(environment: TracingEnvironment, value: object) -> str:
    return markup(value if isinstance(value, str) else environment.printed(value))


@pass_environment
def _striptags(environment: TracingEnvironment, value: object) -> str:
    text = plain(_text(environment, value))
    within(len(text), SLOW)
    return whole_of(text, str(markup_safe(text).striptags()), "striptags")


@pass_environment
def _wordwrap(environment: TracingEnvironment, s: object, *arguments: Any, **named: Any) -> str:  # noqa: ANN401
    text = _text(environment, s)
    within(len(text), SLOW)
    between = named.get("wrapstring") or (arguments[2] if len(arguments) > 2 and arguments[2] else "\n")
    within(len(between), SLOW >> 6)
    wrapped = jinja_filters.do_wordwrap(environment, str.__str__(text), *arguments, **named)
    return whole_of(text, wrapped, "wordwrap") if type(between) is str else lost(str.__str__(wrapped), "wordwrap")


@pass_environment
def _urlencode(environment: TracingEnvironment, value: Any) -> str:  # noqa: ANN401 - as in Jinja
    if isinstance(value, str) or not isinstance(value, Iterable):
        return _quoted(environment, value)
    pairs = value.items() if isinstance(value, dict) else value
    parts: list[str] = []
    for key, item in counted(environment, pairs):
        parts += [_quoted(environment, key, query=True), "=", _quoted(environment, item, query=True), "&"]
    return put_together(parts[:-1])


def _quoted(environment: TracingEnvironment, value: object, *, query: bool = False) -> str:
    text = plain(_text(environment, value))
    within(len(text), _BY_PIECES)
    return mapped(
        text, url_quote(str.__str__(text), for_qs=query), lambda each: url_quote(each, for_qs=query), "urlencode"
    )


@pass_eval_context
def _xmlattr(state: EvalContext, d: Mapping[str, object], autospace: bool = True) -> str:
    environment = _of(state)
    if state.autoescape:
        within(bounded(d).characters, SLOW)
        return jinja_filters.do_xmlattr(state, d, autospace)
    parts: list[str] = []
    for key, value in d.items():
        if value is None or isinstance(value, (Undefined, TracedNone)):
            continue
        jinja_filters.do_xmlattr(state, {key: ""})
        parts += [" ", plain(_escape(environment, key)), '="', plain(_escape(environment, value)), '"']
    return put_together(parts if autospace else parts[1:])


@pass_environment
def _tojson(
    environment: TracingEnvironment,
    x: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    margin = within(indent if isinstance(indent, int) else len(indent or ""), 64)
    between = max((within(len(separator), 64) for separator in separators or ()), default=2)
    size = bounded(x)
    within(size.nodes * (margin * (size.deepest + 1) + between))
    options = {"ensure_ascii": ensure_ascii, "indent": indent, "separators": separators, "sort_keys": sort_keys}
    return as_json(x, environment.containers, **options)


TEXT_FILTERS: Final[Mapping[str, Callable[..., object]]] = {
    **{name: _method(name) for name in ("capitalize", "lower", "upper")},
    "center": _center,
    "e": _escape,
    "escape": _escape,
    "forceescape": _forceescape,
    "format": _format,
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "safe": _safe,
    "string": _string,
    "striptags": _striptags,
    "title": _title,
    "tojson": _tojson,
    "trim": _trim,
    "truncate": _truncate,
    "urlencode": _urlencode,
    "wordwrap": _wordwrap,
    "xmlattr": _xmlattr,
}
"""Filters by name."""
