"""A template that does as much as it can between two looks of its meter: neither time nor memory gets out of hand.

What overruns a limit is a single operation, so by how much does not depend on the limit: a short one is set, and half of
the real one may be overrun. `make test-hostile` sets the real one.
"""
# ruff: noqa: E501 - a template is one line here

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import isc
from isc.traced import limits
from isc.traced.template import TracedTemplate

STATED = 10.0
"""Seconds of processor time, as docs/security.md states them."""
SET = STATED if os.environ.get("ISC_PROFILE") == "nightly" else 0.5
MEMORY = 1 << 30
NESTED = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}"
TUPLES = "{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}"
DEEP = "{% set ns = namespace(x=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x] + [1] * 2000 %}{% endfor %}"
KEPT = "{%% set ns = namespace(l=[]) %%}{%% for i in range(100000) %%}{%% set ns.l = ns.l + [%s] %%}{%% endfor %%}"

OVERRUNS = {
    "rindex": "{{ ('a' * 10**6).rindex('b' ~ 'a' * 10**5) }}",
    "rpartition": "{{ ('a' * 10**6).rpartition('b' ~ 'a' * 10**5) | length }}",
    "count": "{{ ('a' * 10**7 * 6).count('aaaab') }}",
    "in_unrolled": "{% set x = 'a' * 10**7 * 6 %}" + "{% if 'aab' in x %}{% endif %}" * 2400,
    "in_list_unrolled_same": "{% set x = ['a' * 10**6 ~ 'c'] * 10**5 %}{% set y = 'a' * 10**6 ~ 'b' %}"
    + "{% if y in x %}{% endif %}" * 1500,
    "eq_unrolled": "{% set x = 'a' * 10**7 * 6 %}{% set y = 'a' * 10**7 * 6 %}" + "{% if x == y %}{% endif %}" * 2400,
    "eq_list_of_long": "{% set x = ['a' * 10**7] * 10**5 %}{% set y = ['a' * 10**7 ~ ''] * 10**5 %}{{ x == y }}",
    "json_list_of_long": "{% set x = ['a' * 10**7] * 10**5 %}{{ x | tojson }}",
    "print_unrolled": "{% set x = [1] * 150000 %}" + "{{ x }}" * 2400,
    "escape_unrolled": KEPT % "('\"' * 10**7) | e",
    "reverse_kept": KEPT % "('a' * 10**7) | reverse",
    "is_lower": NESTED + "{{ ns.x is lower }}",
    "is_upper_long": NESTED + "{{ ns.x is upper }}",
    "colliding": "{{ dict.fromkeys(range(0, 2305843009213693951 * 100000, 2305843009213693951)) | length }}",
    "colliding_unique": "{{ range(0, 2305843009213693951 * 100000, 2305843009213693951) | unique | list | length }}",
    "deep_attribute": "{% set ns = namespace(x={}) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x} %}{% endfor %}{{ ([ns.x] * 10**6) | map(attribute='a"
    + ".a" * 50
    + "') | list | length }}",
    "deep_attribute_sort": "{% set ns = namespace(x={}) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x} %}{% endfor %}{{ ([{'a':ns.x}] * 10**6) | selectattr('a"
    + ".a" * 50
    + "') | list | length }}",
    "unique_attribute": "{% set ns = namespace(x={}) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x} %}{% endfor %}{{ ([{'a':ns.x}] * 10**6) | unique(attribute='a"
    + ".a" * 50
    + "') | list | length }}",
    "sum_lists": "{% set x = [{'a': [1] * 10**6}] * 10**4 %}{{ x | sum('a', []) | length }}",
    "batch_kept": KEPT % "([1] | batch(10**6, 0) | list)",
    "sort_attribute_long": "{% set x = [{'a': 'a' * 10**7}] * 10**5 %}{{ x | sort(attribute='a') | length }}",
    "max_long": "{% set x = [{'a': 'a' * 10**7}] * 10**5 %}{{ x | max(attribute='a') | length }}",
    "dictsort": "{{ dict.fromkeys(range(100000), 'a' * 10**6) | dictsort(by='value') | length }}",
    "urlize2": "{{ ('x' ~ ').' * 32000 ~ 'x).') | urlize }}",
    "striptags": "{{ ('<!---->' * 9000) | striptags }}",
    "unescape": "{{ (('&' * 10**6) | safe).unescape() }}",
    "markup_striptags": "{{ (('<' * 10**7) | safe).striptags() | length}}",
    "markup_striptags2": "{{ (('<!---->' * 10**6) | safe).striptags() | length}}",
    "wordwrap": "{{ ('a-' * 32000) | wordwrap(10) | length }}",
    "wordwrap3": "{{ ('a' * 65000) | wordwrap(1) | length }}",
    "percent_parse": "{{ ('%(' * 10**6) % 1 }}",
    "percent_many2": "{{ ('%(a)s' * 60000) % {'a': 'x' * 10**6} }}",
    "format_many2": "{{ ('{0:s}' * 30000).format('x' * 10**6) | length }}",
    "percent_widths": "{{ ('%50000000d' * 100) % ((1,) * 100) }}",
    "percent_markup": "{{ ('%1000000000d' | safe) % 1 }}",
    "percent_markup_nested": NESTED + "{{ ('%s' | safe) % [ns.x] }}",
    "format_markup": "{{ ('{:1000000000}' | safe).format(1) }}",
    "format_markup_nested": NESTED + "{{ ('{}' | safe).format([ns.x]) }}",
    "format_widths": "{{ ('{0:50000000}' * 100).format(1) | length }}",
    "format_parse": "{{ ('{' * 10**6).format(1) }}",
    "format_parse2": "{{ ('{{' * 10**7).format(1) | length }}",
    "format_map": "{{ ('{a:50000000}' * 100).format_map({'a': 1}) | length }}",
    "json_indent": DEEP + "{{ ns.x | tojson(indent=64) | length }}",
    "json_deep": DEEP + "{{ ns.x | tojson | length }}",
    "repr_deep": DEEP + "{{ ns.x | string | length }}",
    "pprint_deep": DEEP + "{{ ns.x | pprint | length }}",
    "autoescape_join": "{% autoescape true %}{{ (['a' * 10**6] * 10**4) | join }}{% endautoescape %}",
    "autoescape_join_nested": NESTED + "{% autoescape true %}{{ [ns.x] | join }}{% endautoescape %}",
    "autoescape_replace": NESTED + "{% autoescape true %}{{ ns.x | replace('a', 'b') }}{% endautoescape %}",
    "autoescape_xmlattr": NESTED + "{% autoescape true %}{{ {'a': ns.x} | xmlattr }}{% endautoescape %}",
    "autoescape_print": "{% autoescape true %}{% set x = '<' * 10**7 %}" + "{{ x }}" * 2400 + "{% endautoescape %}",
    "markup_join": "{{ ('' | safe).join(['<' * 10**7] * 100) | length }}",
    "title_words": "{{ ('ж-' * 10**7) | title | length }}",
    "upper_mapped": "{{ (messages[0].content ~ 'ß' * 10**7).upper() | length }}",
    "urlencode": "{{ ('a ' * 10**7) | urlencode | length }}",
    "urlencode_mapped": "{{ (messages[0].content ~ 'ß' * 10**6) | urlencode | length }}",
    "escape_mapped": "{{ (messages[0].content ~ '<' * 10**7) | e | length }}",
    "join_characters": "{{ ','.join(messages[0].content * 10**7) | length }}",
    "join_characters2": "{{ ','.join('a' * 10**7) | length }}",
    "fromkeys_text": "{{ dict.fromkeys(messages[0].content * 10**7) | length }}",
    "spread": "{{ namespace(*('a' * 10**7)) }}",
    "spread2": "{% macro f() %}{{ varargs | length }}{% endmacro %}{{ f(*(messages[0].content * 10**7)) }}",
    "translate": "{{ ('aж' * 10**7).translate({97: 'b'}) | length }}",
    "maketrans": "{{ ''.maketrans('aж' * 10**7, 'aж' * 10**7) | length }}",
    "punycode": "{{ ('ж' * 10**5).encode('punycode') | length }}",
    "idna": "{{ ('ж.' * 10**5).encode('idna') | length }}",
    "startswith_tuple": "{{ ('a' * 10**7).startswith((('a' * 10**7 ~ 'b'),) * 10**5) }}",
    "startswith_tuple2": "{{ ('a' * 10**7).startswith((('a' * 10**6 ~ 'b'),) * 10**5) }}",
    "list_count_lists": "{% set a = [1] * 10**5 %}{% set b = [1] * 10**5 %}{{ ([a] * 10**5).count(b) }}",
    "list_in_lists": "{% set a = [1] * 10**5 %}{% set b = [1] * 10**5 + [2] %}{% set c = [1] * 10**5 + [3] %}{{ b in ([c] * 10**5) }}",
    "items_eq": NESTED + "{{ {'a': ns.x}.items() == {'a': ns.y}.items() }}",
    "items_minus": TUPLES + "{{ {'a': ns.x}.items() - {}.items() }}",
    "values_in": NESTED + "{{ ns.x in {'a': ns.y}.values() }}",
    "runs_doubled": "{% set ns = namespace(x=messages[0].content ~ 'b') %}{% for i in range(25) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x | length }}",
    "runs_index": "{% set x = (messages[0].content ~ 'b') * 500000 %}" + "{% if x[999999] == 'b' %}{% endif %}" * 2400,
    "runs_split": "{% set x = (messages[0].content ~ 'b') * 500000 %}{{ x.split('b') | length }}",
    "runs_replace": "{% set x = (messages[0].content ~ 'b') * 500000 %}{{ x.replace('b', 'c') | length }}",
    "splits_kept": KEPT % "('a ' * 500000).split()",
    "splitlines_kept": KEPT % "('\\n' *2400000).splitlines()",
    "lists_kept": KEPT % "('a' * 1000000) | list",
    "wide_kept": KEPT % "('\U0001f600' * 10000000)",
    "wide_title": "{{ ('\U0001f600 ' * 3*10**7) | title | length }}",
    "many_pieces": "{% for i in range(100000) %}{% for j in range(30) %}{{ messages[0].content }}x{% endfor %}{% endfor %}",
    "many_pieces_kept": "{% set z %}{% for i in range(100000) %}{% for j in range(30) %}{{ messages[0].content }}x{% endfor %}{% endfor %}{% endset %}{{ z | length }}",
    "many_pieces_of_macros": "{% macro f() %}{% for j in range(30) %}{{ messages[0].content }}x{% endfor %}{% endmacro %}{% for i in range(100000) %}{{ f() }}{% endfor %}",
    "many_plain": "{% for i in range(100000) %}{% for j in range(30) %}x{% endfor %}{% endfor %}",
    "slow_below": "{% for i in range(1000) %}{% for j in range(3000) %}{% set x = 'a' * 100 %}{% endfor %}{% endfor %}{{ messages[0].content }}",
    "float_precision": "{{ '%.50000000f' % 1e-300 }}",
    "indent_lines_kept": KEPT % "('\\n' *2400000) | indent(1)",
    "select_nested": "{% set a = [1] * 10**5 %}{% set b = [1] * 10**5 %}{{ ([a] * 10**5) | select('eq', b) | list | length }}",
    "select_in": "{% set a = ['a' * 10**5] * 10**3 %}{{ (['a' * 10**5 ~ 'b'] * 10**5) | select('in', a) | list | length }}",
    "select_in2": "{% set a = 'a' * 10**7 %}{{ (['aab'] * 10**5) | select('in', a) | list | length }}",
    "bytes_decode": "{{ ('a' * 10**7).encode().decode('punycode') | length }}",
    "hash_long": "{% set x = 'a' * 10**7 * 6 %}{% for i in range(100000) %}{% set y = {x[1:]: 1} %}{% endfor %}",
    "slice_step": "{% set x = (messages[0].content ~ 'b') * 500000 %}{{ x[::2] | length }}",
    "cyc": "{% set c = cycler(*([1] * 10**6)) %}{{ c }}",
    "dict_big": "{% set x = dict.fromkeys(range(100000)) %}{% for i in range(100000) %}{% set y = dict(x) %}{% endfor %}",
    "dict_eq": "{% set x = dict.fromkeys(range(100000)) %}{% set y = dict.fromkeys(range(100000)) %}"
    + "{% if x == y %}{% endif %}" * 2400,
    "range_in": "{% set x = range(100000) %}" + "{% if 1.5 in x %}{% endif %}" * 2400,
    "tojson_unrolled": "{% set x = [1] * 150000 %}" + "{% set y = x | tojson %}" * 2400,
    "length_unrolled": "{% set x = 'a' * 10**7 * 6 %}" + "{% set y = x[1:] %}" * 2400,
}


def attack(source: str) -> float:
    """Render a template to its end or to its error, and return the processor seconds that took."""
    started = time.thread_time()
    refusal = ""
    try:
        for _ in TracedTemplate(source, specials=("<|x|>",)).stream([{"role": "user", "content": "h"}]):
            pass
    except isc.Error as error:
        refusal = str(error)
    if "more memory" in refusal:
        raise MemoryError(refusal)
    return time.thread_time() - started


@pytest.fixture(scope="module")
def seconds() -> Mapping[str, float | str]:
    """Processor seconds of every template, in one process with a bound on what it takes besides its imports."""
    code = [sys.executable, __file__, str(SET)]
    allowed = len(OVERRUNS) * (SET + STATED) * 2
    done = subprocess.run(code, capture_output=True, text=True, check=False, timeout=allowed)
    taken: dict[str, float | str] = dict.fromkeys(OVERRUNS, f"the process ended before it: {done.stderr[-2000:]}")
    for line in done.stdout.splitlines():
        name, _, figure = line.partition(" ")
        taken[name] = float(figure) if figure.replace(".", "").isdigit() else figure
    return taken


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read from /proc")
@pytest.mark.parametrize("name", OVERRUNS)
def test_no_operation_overruns_the_limits(name: str, seconds: Mapping[str, float | str]) -> None:
    taken = seconds[name]
    assert isinstance(taken, float), taken
    assert taken <= SET + STATED / 2


def main(limit: float) -> None:
    """Attack with every template in turn, and print what each took."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    assert limits._SECONDS == STATED
    vars(limits)["_SECONDS"] = limit
    for name, source in OVERRUNS.items():
        try:
            print(name, f"{attack(source):.3f}", flush=True)
        except (MemoryError, RecursionError) as error:
            print(name, f"{type(error).__name__}: {error}"[:300].replace("\n", " "), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
