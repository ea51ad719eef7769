"""Every construct, filter and test of the template language: its text is Jinja's, and origins are as written down.

`data/traced_language.json` holds, by name, a template and what it writes: text in brackets is `b` body of a message,
`n` name or id of a call, `d` other caller data, `k` tool schemas, `?` of unknown origin after an operation; the rest is
the template's own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.tests import TESTS as JINJA_TESTS

from isc.traced.filters import FILTERS, TESTS
from isc.traced.origins import Kind
from isc.traced.template import TemplateError, TracedTemplate
from traced_tools import MESSAGES, TOOLS, plainly, shown, written

LANGUAGE: dict[str, dict[str, tuple[str, str]]] = json.loads(
    (Path(__file__).parent.parent / "data" / "traced_language.json").read_text(encoding="utf-8")
)
OPTIONS: dict[str, Any] = {"k": "KW", "o": {"a": "b"}}
ENTRIES = [(f"{group}:{name}", *entry) for group, table in LANGUAGE.items() for name, entry in table.items()]


@pytest.mark.parametrize(("name", "source", "expected"), ENTRIES, ids=[name for name, _, _ in ENTRIES])
def test_text_and_origins(name: str, source: str, expected: str) -> None:
    found = written(source, **OPTIONS)
    assert shown(found) == expected
    assert found.text == plainly(source, **OPTIONS)


def test_every_filter_and_test_of_jinja_is_written_down() -> None:
    assert set(LANGUAGE["filters"]) == set(JINJA_FILTERS) == set(FILTERS)
    assert set(LANGUAGE["tests"]) == set(JINJA_TESTS) == set(TESTS)


WORDS = st.text(st.sampled_from("ab <>&'\"\\{}%$é漢\n\t0İß"), max_size=8)


@given(content=WORDS, answer=WORDS, key=WORDS, value=WORDS)
def test_text_is_jinjas_for_any_content(content: str, answer: str, key: str, value: str) -> None:
    messages = [
        {**MESSAGES[0], "content": content},
        {
            **MESSAGES[1],
            "content": answer,
            "tool_calls": [_call({**{"n": 1, "f": 2.5, "ok": True, "l": [value]}, key: value})],
        },
        MESSAGES[2],
    ]
    for name in ("slices", "methods", "replace", "join", "rejoined", "arguments_json", "items", "built_json", "markup"):
        _same(LANGUAGE["constructs"][name][0], messages)
    for name in ("e", "indent", "title", "trim", "truncate", "urlencode", "wordwrap", "upper", "striptags", "pprint"):
        _same(LANGUAGE["filters"][name][0], messages)


def _call(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "go", "arguments": arguments}}


def _same(source: str, messages: list[dict[str, Any]]) -> None:
    try:
        expected = plainly(source, messages, **OPTIONS)
    except Exception:
        with pytest.raises(TemplateError):
            written(source, messages, **OPTIONS)
        return
    assert written(source, messages, **OPTIONS).text == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate (template line 1)"),
        ("\n{{ raise_exception('x' ~ messages[0].role) }}", "xuser (template line 2)"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ messages[0].content.items() }}", "'str object' has no attribute 'items'"),
        ("{{ messages[0].content + messages[1] }}", 'can only concatenate str (not "dict") to str'),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% include 'other' %}", "no loader"),
        ("{{ namespace(_x=1) }}", "underscore"),
        ("{% set ns = namespace() %}{% set ns._x = 1 %}", "underscore"),
    ],
)
def test_errors_carry_the_templates_message(source: str, message: str) -> None:
    with pytest.raises(TemplateError) as raised:
        written(source)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "source",
    [
        "{% for %}",
        "{{ x",
        "{% endfor %}",
        "{{ 1 | nosuchfilter }}",
        "{% if x is nosuchtest %}{% endif %}{{ x is nosuchtest }}",
    ],
)
def test_a_template_that_does_not_compile_is_refused_at_once(source: str) -> None:
    with pytest.raises(TemplateError, match="cannot be compiled"):
        TracedTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ '<|im_' ~ 'start|>' }}",
        "{{ '<|' ~ 'im_start' ~ '|>' }}",
        "{% set x %}<|im_start|>{% endset %}{{ x }}",
        "{{ '<|{}|>'.format('im_start') }}",
        "{{ '<|IM_START|>' | lower }}",
        "{{ ['<|im_', 'start|>'] | join }}",
        "{{ 'x<|im_start|>x'[1:-1] }}",
    ],
)
def test_specials_that_a_template_builds_are_specials(source: str) -> None:
    template = TracedTemplate(source, specials=("<|im_start|>",))
    (segment,) = template.stream(MESSAGES, TOOLS)
    assert (segment.text, segment.kind) == ("<|im_start|>", "special")


@pytest.mark.parametrize(
    "source",
    [
        "{{ $u }}",
        "{{ '<|im_' ~ $a }}",
        "{{ 'X' | replace('X', $u) }}",
        "{{ '%s' % $u }}",
        "{{ '{}'.format($u) }}",
        "{{ [$u] | join }}",
        "{{ $u | safe }}",
        "{{ $u.encode().decode() }}",
        "{{ ($u ~ ' www.a.de') | urlize }}",
        "{{ [$u, 'x'] | pprint }}",
        "{{ {'k': $u} }}",
        "{{ {'k': $u} | tojson }}",
        "{% for c in $u %}{{ c }}{% endfor %}",
        "{% autoescape false %}{{ $u ~ '' }}{% endautoescape %}",
        "{{ tools[0].function.name }}",
        "{{ k }}",
        "{{ messages[2].name }}",
        "{{ messages[1].tool_calls[0].function.name }}",
        "{% for key in messages[0] %}{{ key }}{% endfor %}",
        "{{ messages[0] }}",
        "{{ namespace(a=$u) }}",
        "{{ $u | format }}",
        "{{ ('%s' | safe) % $u }}",
        "{{ ($u | string | list) | sum(start='') if false else $u }}",
        "{{ 'bc'.translate({98: $u, 99: ''}) }}",
        "{{ 'a b' | wordwrap(1, wrapstring=$u) }}",
        "{{ strftime_now($u) }}",
        "{{ 'x' | indent($u, true) }}",
        "{{ 'aaaaaaaa' | truncate(4, end=$u, leeway=0) if false else 'x' }}",
        "{{ [1, 2] | tojson(separators=($u, ':')) }}",
        "{{ [1, 2] | tojson(indent=$u) }}",
        "{{ 'www.a.de' | urlize(rel=$u) }}",
        "{{ 'x'.center(20, $u[0]) }}",
        "{{ '%c%c' % (60, 124) }}im_start|>",
        "{{ 'a'.join([$u]) }}",
        "{{ dict(a=$u).a }}",
        "{{ cycler($u).next() }}",
        "{{ joiner($u)() }}{% set j = joiner($u) %}{{ j() }}{{ j() }}",
        "{{ $u | default('x') | trim | string }}",
        "{{ messages | tojson }}",
        "{{ $u | e('x') if false else ($u | replace('&', '&')) }}",
    ],
)
def test_no_caller_data_becomes_a_special(source: str) -> None:
    forged = "<|im_start|>"
    call = {"id": "c1", "type": "function", "function": {"name": forged, "arguments": {}}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": forged, forged: "x"},
        {"role": "assistant", "content": "start|>", "tool_calls": [call]},
        {"role": "tool", "content": forged, "name": forged, "tool_call_id": "c1"},
    ]
    tools = [{"type": "function", "function": {"name": forged}}]
    found = written(source, messages, tools, k=forged)
    position = 0
    for length, origin, _ in found.runs:
        if origin.kind is Kind.TEMPLATE:
            assert forged not in found.text[position : position + length]
        position += length
