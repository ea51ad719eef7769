"""A template is data from the internet: nothing in it can hang, fill memory, or get out of the sandbox."""
# ruff: noqa: E501 - a template is one line here

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import isc
from isc.traced import limits
from isc.traced.template import TemplateError, TemplateLimitError, TracedTemplate

MESSAGES = [{"role": "user", "content": "hi"}]
NESTED = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}"
TUPLES = "{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}"
DOUBLED = "{{% set ns = namespace(x={0}) %}}{{% for i in range(60) %}}{{% set ns.x = {1} %}}{{% endfor %}}{{{{ ns.x | length }}}}"


def render(source: str) -> str:
    return "".join(segment.text for segment in TracedTemplate(source).stream(MESSAGES))


BOMBS = {
    "loops": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "loops_that_write": "{% for a in range(100000) %}{% for b in range(100000) %}"
    + "x" * 999
    + "{% endfor %}{% endfor %}",
    "loops_in_a_block": "{% block a %}{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}{% endblock %}",
    "repeated_text": "{{ 'a' * 10**9 }}",
    "repeated_content": "{{ messages[0].content * 10**9 }}",
    "repeated_list": "{{ [1] * 10**9 }}",
    "doubled_by_plus": DOUBLED.format("'a'", "ns.x + ns.x"),
    "doubled_by_tilde": DOUBLED.format("'a'", "ns.x ~ ns.x"),
    "doubled_list": DOUBLED.format("[1]", "ns.x + ns.x"),
    "doubled_number": DOUBLED.format("10", "ns.x * ns.x").replace("| length", "> 1"),
    "doubled_by_block": "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "printed": NESTED + "{{ ns.x }}",
    "printed_as_json": NESTED + "{{ ns.x | tojson }}",
    "printed_by_percent": NESTED + "{{ '%s' % ns.x }}",
    "printed_by_format": NESTED + "{{ '{}'.format(ns.x) }}",
    "printed_by_join": NESTED + "{{ [ns.x] | join }}",
    "printed_by_namespace": NESTED + "{{ ns }}",
    "printed_by_pprint": NESTED + "{{ ns.x | pprint }}",
    "printed_by_escape": NESTED + "{{ ns.x | e }}",
    "printed_by_urlencode": NESTED + "{{ {'a': ns.x} | urlencode }}",
    "printed_by_xmlattr": NESTED + "{{ {'a': ns.x} | xmlattr }}",
    "printed_as_view": NESTED + "{{ {'a': ns.x}.values() }}",
    "printed_escaping": NESTED + "{% autoescape true %}{{ ns.x }}{% endautoescape %}",
    "printed_escaping_tilde": NESTED + "{% autoescape true %}{{ ns.x ~ 'a' }}{% endautoescape %}",
    "compared": NESTED + "{{ ns.x == ns.y }}",
    "compared_by_test": NESTED + "{{ ns.x is eq(ns.y) }}",
    "compared_by_select": NESTED + "{{ [ns.x] | select('eq', ns.y) | list | length }}",
    "compared_by_sort": NESTED + "{{ [ns.x, ns.y] | sort | length }}",
    "compared_by_max": NESTED + "{{ [ns.x, ns.y] | max | length }}",
    "compared_by_groupby": NESTED + "{{ [{'a': ns.x}, {'a': ns.y}] | groupby('a') | length }}",
    "compared_by_index": NESTED + "{{ [ns.x].index(ns.y) }}",
    "compared_by_changed": NESTED + "{% for i in [1, 2] %}{{ loop.changed(ns.x if i == 1 else ns.y) }}{% endfor %}",
    "hashed_as_key": TUPLES + "{{ {ns.x: 1} | length }}",
    "hashed_by_lookup": TUPLES + "{{ {'a': 1}[ns.x] }}",
    "hashed_by_get": TUPLES + "{{ {'a': 1}.get(ns.x) }}",
    "hashed_by_in": TUPLES + "{{ ns.x in {'a': 1} }}",
    "hashed_by_unique": TUPLES + "{{ [ns.x] | unique | list | length }}",
    "hashed_deep": "{% set ns = namespace(x=(1,)) %}{% for i in range(90000) %}{% set ns.x = (ns.x,) %}{% endfor %}{{ {ns.x: 1} | length }}",
    "macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursive_loop": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "block_of_itself": "{% block a %}{{ self.a() }}{% endblock %}",
    "center": "{{ 'a' | center(10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "expandtabs": "{{ '\t'.expandtabs(10**9) }}",
    "percent_width": "{{ '%1000000000d' % 1 }}",
    "percent_star": "{{ '%*d' % (10**9, 1) }}",
    "percent_precision": "{{ '%.1000000000f' % 1.0 }}",
    "format_width": "{{ '{:1000000000}'.format(1) }}",
    "format_nested_width": "{{ '{:{}}'.format(1, 10**9) }}",
    "replace": "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}",
    "replace_filter": "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}",
    "join": "{{ ('b' * 10**6).join('a' * 10**6) }}",
    "join_filter": "{{ ('a' * 10**6) | join('b' * 10**6) }}",
    "indent": "{{ 'a' | indent(10**9, true) }}",
    "batch": "{{ [1] | batch(10**9, 0) | list }}",
    "slice": "{{ [1] | slice(10**9) | list }}",
    "wordwrap": "{{ ('a ' * 30000) | wordwrap(1, true, 'b' * 10**6) }}",
    "round": "{{ 1.5 | round(10**9, 'ceil') }}",
    "lipsum": "{{ lipsum(10**9) }}",
    "split": "{{ ('a ' * 10**7).split() | length }}",
    "characters": "{{ ('a' * 10**7) | list | length }}",
    "translate": "{{ ('a' * 10**6).translate({97: 'b' * 10**6}) }}",
    "json_indent": "{{ [1] | tojson(indent=10**9) }}",
    "time_format": "{{ strftime_now('%Y' * 10**6) }}",
    "slices_kept": "{% set x = range(100000) | list %}{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + [x[:]] %}{% endfor %}",
    "copies_kept": "{% set x = dict.fromkeys(range(100000)) %}{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + [x.copy()] %}{% endfor %}",
    "texts_kept": "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + ['a' * 100000] %}{% endfor %}",
    "striptags": "{{ ('<!--' * 10**6) | striptags }}",
    "urlize": "{{ ('http://a.b/' * 10**6) | urlize }}",
    "long_source": "x" * (1 << 21),
    "strip_of_a_long_set": "{{ ('a' * 10**6).strip('b' * 10**6 ~ 'a') }}",
    "trim_of_a_long_set": "{{ ('a' * 10**6) | trim('b' * 10**6 ~ 'a') }}",
    "index_of_long_texts": "{% set x = ['a' * 10**6] * 10**4 %}{{ x.index('a' * 10**6 ~ 'b') }}",
    "count_of_long_texts": "{% set x = ['a' * 10**6] * 10**4 %}{{ x.count('a' * 10**6 ~ 'b') }}",
    "select_of_long_texts": "{% set x = ['a' * 10**6] * 10**4 %}{{ x | select('eq', 'a' * 10**6 ~ 'b') | list | length }}",
    "unique_of_long_texts": "{% set x = ['a' * 10**6] * 10**4 %}{{ x | unique | list | length }}",
    "map_center": "{% set x = ['a'] * 10**5 %}{{ x | map('center', 10**6) | list | length }}",
    "centers_kept": "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + ['a' | center(10**6)] %}{% endfor %}",
    "replaces_kept": "{% set ns = namespace(l=[]) %}{% set x = 'a' * 10**6 %}{% for i in range(100000) %}{% set ns.l = ns.l + [x | replace('a', 'b')] %}{% endfor %}",
    "joins_kept": "{% set ns = namespace(l=[]) %}{% set x = ['a'] * 10**4 %}{% for i in range(100000) %}{% set ns.l = ns.l + [x | join(',')] %}{% endfor %}",
    "titles_kept": "{% set ns = namespace(l=[]) %}{% set x = 'a' * 10**6 %}{% for i in range(100000) %}{% set ns.l = ns.l + [x | title] %}{% endfor %}",
    "many_macros": "".join(f"{{% macro m{k}() %}}{{% endmacro %}}" for k in range(30_000)),
    "many_outputs": "{{ x }}" * 30_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_stopped_with_a_clear_error(name: str) -> None:
    started = time.thread_time()
    with pytest.raises(TemplateLimitError) as raised:
        render(BOMBS[name])
    assert "template" in str(raised.value)
    assert time.thread_time() - started < 12


SLOW = {
    "branching_macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}x{% endmacro %}{{ f(40) }}",
    "filtered_loops": "{% for i in range(100000) %}{% for j in range(100000) if j < 0 %}{% endfor %}{% endfor %}",
    "searches": "{% set x = 'a' * 10**7 %}{% for i in range(100000) %}{{ x.count('ab') }}{% endfor %}",
    "membership": "{% set x = 'a' * 10**7 %}{% for i in range(100000) %}{% if 'ab' in x %}{% endif %}{% endfor %}",
}


@pytest.mark.parametrize("name", SLOW)
def test_time_is_bounded_in_any_thread(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_SECONDS", 0.3)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            render(SLOW[name])
        except isc.Error as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [TemplateLimitError]
    assert "seconds" in str(errors[0])


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "-" * 5000 + "1 }}",
        "{% for x in [1] %}" * 60 + "{% endfor %}" * 60,
        "{{ " + "9" * 100_000 + " }}",
        "{% autoescape 'a' | center(10**9) %}{% endautoescape %}",
        "{{ range(10**9) | list }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
    ],
)
def test_absurd_templates_are_refused(source: str) -> None:
    with pytest.raises((TemplateError, TemplateLimitError)):
        render(source)


ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.__class__.__base__.__subclasses__() }}",
    "{{ messages[0].content.__class__.__init__.__globals__ }}",
    "{{ messages[0].content._runs }}",
    "{{ messages[0].content | attr('_runs') }}",
    "{{ messages[0].content | attr('__class__') }}",
    "{{ '{0.__class__.__mro__}'.format(messages[0].content) }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ messages[0].content.upper.__func__.__globals__ }}",
    "{{ messages[0].content.upper.__self__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__closure__ }}",
    "{{ strftime_now.isc_template_text.__class__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ dict.__call__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'a': 1}) }}",
    "{{ messages[0].pop('role') }}",
    "{{ (5).to_bytes(10**9, 'big') }}",
    "{{ 'a'.encode().ljust(10**9) }}",
    "{{ loop.__class__ }}{% for m in messages %}{{ loop._iterable }}{% endfor %}",
    "{{ environment }}{{ context }}{{ isc }}",
    "{{ messages | attr('isc enter') }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_nothing_leads_out_of_the_sandbox(source: str) -> None:
    try:
        text = render(source)
    except TemplateError:
        return
    assert not any(word in text for word in ("class", "module", "function", "method", "<", "isc"))


def test_what_a_template_gets_cannot_be_changed() -> None:
    messages = [{"role": "user", "content": "hi"}]
    with pytest.raises(TemplateError):
        list(TracedTemplate("{{ messages[0].clear() }}").stream(messages))
    assert messages == [{"role": "user", "content": "hi"}]


def test_no_file_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    with pytest.raises(TemplateError):
        render("{% include '" + str(secret) + "' %}")


@pytest.mark.parametrize(("before", "after"), [("", ""), ("{% set kept %}", "{% endset %}{{ kept | length }}")])
def test_pieces_of_what_is_written_are_counted_before_they_are_put_together(before: str, after: str) -> None:
    """They are short and of many owners: six million of them took a gigabyte, and no limit was met."""
    pieces = "{% for a in range(100000) %}{% for b in range(12) %}{{ messages[0].content }}x{% endfor %}{% endfor %}"
    with pytest.raises(TemplateLimitError, match="a value of size"):
        render(before + pieces + after)


def test_a_bomb_does_not_stop_the_next_render() -> None:
    with pytest.raises(TemplateLimitError):
        render(BOMBS["loops"])
    assert render("{{ messages[0].content }}") == "hi"


MEASURED = """
import resource, sys
from isc.traced.template import TemplateLimitError, TracedTemplate
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) + (1 << 30),) * 2)
try:
    "".join(segment.text for segment in TracedTemplate(sys.stdin.read()).stream([{"role": "user", "content": "hi"}]))
except TemplateLimitError as error:
    assert "memory" not in str(error), error
else:
    raise AssertionError("it was rendered")
"""


def address_space() -> int:
    """Bytes that a process takes that has only imported what renders templates."""
    code = "import isc.traced.template, resource; print(open('/proc/self/statm').read().split()[0])"
    pages = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return int(pages) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read from /proc")
@pytest.mark.parametrize("name", [name for name in BOMBS if "kept" in name or name in ("map_center", "many_macros")])
def test_a_bomb_takes_at_most_a_gigabyte(name: str) -> None:
    code = [sys.executable, "-c", MEASURED, str(address_space())]
    done = subprocess.run(code, input=BOMBS[name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
