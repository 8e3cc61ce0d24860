"""Templates from strangers: what they try ends soon, in a clear error, without taking memory."""

from __future__ import annotations

import resource
import time

import pytest

from heron.errors import TemplateError
from heron.text.budget import Limits
from heron.text.chat import ChatTemplate

MESSAGES = [{"role": "user", "content": "hello"}]

DOUBLED = "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}"
ENDLESS = {
    "nested loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
    "filtered loop": "{% for a in range(99999) if false %}{% endfor %}" * 400,
    "nested filtered": "{% for a in range(99999) %}{% for a in range(99999) if false %}{% endfor %}{% endfor %}",
    "macro": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(200) }}",
    "recursive loop": ("{% for a in [1] recursive %}{% for x in range(3) %}{{ x }}{% endfor %}{{ loop([1]) }}{{ loop([1]) }}{% endfor %}"),
    "blocks": "{% block a %}{% if messages %}{{ self.a() }}{{ self.a() }}{% endif %}{% endblock %}",
    "map of map": "{% for i in range(99999) %}{{ range(99999) | map('string') | map('length') | sum }}{% endfor %}",
    "continue": "{% for a in range(99999) %}{% for b in range(99999) %}{% continue %}{% endfor %}{% endfor %}",
    "doubled json": DOUBLED + "{{ ns.a | tojson }}",
    "doubled list": DOUBLED + "{{ ns.a }}",
    "doubled list, string": DOUBLED + "{{ ns.a | string | length }}",
    "doubled list, concatenated": DOUBLED + "{{ ns.a ~ '' }}",
    "doubled list, formatted": DOUBLED + "{{ '%s' % ns.a }}",
}
BOMBS = {
    "product": "{{ 'x' * 10**9 }}",
    "product, left": "{{ 10**9 * 'x' }}",
    "product of a list": "{% set a = [1] * 10**10 %}",
    "power": "{{ 9 ** (9 ** 9) }}",
    "large power": "{{ 10 ** 100000000 }}",
    "squares": "{% set ns = namespace(n=9) %}{% for i in range(64) %}{% set ns.n = ns.n * ns.n %}{% endfor %}{{ ns.n }}",
    "sums": "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "concatenations": "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "captured blocks": (
        "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}{% endfor %}"
    ),
    "list sums": "{% set ns = namespace(s=[1]) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "range": "{{ range(10**12) | list }}",
    "range, length": "{{ range(0 - 10**30, 10**30) | first }}",
    "center": "{{ 'x' | center(10**9) }}",
    "center method": "{{ 'x'.center(10**9) }}",
    "just": "{{ 'x'.ljust(10**9) ~ 'x'.rjust(10**9) }}",
    "zfill": "{{ 'x'.zfill(10**9) }}",
    "tabs": "{{ ('\\t' * 1000).expandtabs(10**8) }}",
    "tabs, named": "{{ ('\\t' * 1000).expandtabs(tabsize=10**8) }}",
    "indent": "{{ ('\\n' * 100000) | indent(99999) }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "percent star": "{{ '%*d' % (10**9, 1) }}",
    "format filter": "{{ '%1000000000d' | format(1) }}",
    "format method": "{{ '{:1000000000}'.format(1) }}",
    "format width": "{{ '{:{}}'.format(1, 10**9) }}",
    "format many": "{{ ('{0}' * 10000).format('x' * 1000000) }}",
    "replace": "{{ ('x' * 100000) | replace('x', 'y' * 100000) }}",
    "replace method": "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
    "replace nothing": "{{ ('x' * 100000).replace('', 'y' * 100000) }}",
    "join": "{{ range(99999) | join('y' * 100000) }}",
    "join method": "{{ ('y' * 100000).join('x' * 100000) }}",
    "join list": "{{ (['x' * 100000] * 100000) | join }}",
    "mapped": "{{ range(99999) | map('string') | map('center', 99999) | list | length }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "slice": "{{ [1] | slice(10**9) | list | length }}",
    "sum of lists": "{{ ([[1] * 9999] * 9999) | sum(start=[]) }}",
    "json indent": "{{ [[[1]]] | tojson(indent=10**9) }}",
    "json separators": "{{ range(99999) | list | tojson(separators=('x' * 100000, ':')) }}",
    "bytes": "{{ (1).to_bytes(10**10, 'big') }}",
    "translate": "{{ ('a' * 100000).translate({97: 'x' * 100000}) }}",
    "slices": (
        "{% set ns = namespace(a=[]) %}{% set s = 'x' * 9999999 %}{% for i in range(9999) %}{% set ns.a = ns.a + [s[i:]] %}{% endfor %}"
    ),
    "output": "{% for i in range(99999) %}" + "x" * 1000 + "{% endfor %}",
    "output of a value": "{% set s = 'x' * 100000 %}{% for i in range(99999) %}{{ s }}{% endfor %}",
    "upper": (
        "{% set s = 'x' * 1000000 %}{% set ns = namespace(a=[]) %}{% for i in range(9999) %}{% set ns.a = ns.a + [s | upper] %}{% endfor %}"
    ),
    "date": "{{ strftime_now('%c' * 1000000) }}",
    "split": "{{ ('x' * 60000000).split('x') | length }}",
    "list of characters": "{{ ('x' * 60000000) | list | length }}",
    "lipsum": "{{ lipsum(n=10**6) }}",
}
ESCAPES = {
    "class": "{{ ''.__class__ }}",
    "mro": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "item": "{{ ''['__class__'] }}",
    "attr": "{{ '' | attr('__class__') }}",
    "attr, joined": "{{ '' | attr('__cl' ~ 'ass__') | string }}",
    "globals": "{{ raise_exception.__globals__ }}",
    "format": "{{ '{0.__class__}'.format(1) }}",
    "format_map": "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "attr of format": "{{ ('{0.__class__}' | attr('format'))(1) }}",
    "map attribute": "{{ [''] | map(attribute='__class__') | list }}",
    "environment": "{{ self._TemplateReference__context.environment }}",
    "namespace": "{{ namespace.__init__.__globals__ }}",
    "cycler": "{{ cycler.__init__.__globals__.os }}",
    "change": "{{ messages.append(1) }}",
    "change of a dict": "{{ messages[0].update({'a': 1}) }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}{{ os }}",
}
BROKEN = {
    "deep recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "deep parentheses": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "deep lists": "{{ " + "[" * 20000 + "]" * 20000 + " }}",
    "deep blocks": "{% if 1 %}" * 5000 + "{% endif %}" * 5000,
    "deep loops": "{% for i in [1] %}" * 200 + "{% endfor %}" * 200,
    "long": "x" * 1_000_000,
    "long number": "{{ " + "9" * 100000 + " }}",
    "syntax": "{% for x in %}",
    "unknown filter": "{{ 1 | nothing }}",
    "division": "{{ 1 / 0 }}",
    "refusal": "{{ raise_exception('Only user messages, please.') }}",
    "missing": "{{ nothing.at.all }}",
}


QUICK = Limits(seconds=0.2)
HOSTILE = [pytest.param(source, id=name) for group in (BOMBS, ESCAPES, BROKEN) for name, source in group.items()]


def refused(source: str, limits: Limits | None = None) -> float:
    """Seconds until the template was refused."""
    memory, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(TemplateError):
        ChatTemplate(source, limits=limits).render(MESSAGES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 500_000  # KiB
    return time.monotonic() - begin


@pytest.mark.parametrize("source", HOSTILE)
def test_hostile(source: str) -> None:
    assert refused(source) < 2


@pytest.mark.parametrize("source", [pytest.param(source, id=name) for name, source in ENDLESS.items()])
def test_endless(source: str) -> None:
    assert refused(source, QUICK) < 1


def test_endless_by_default() -> None:
    assert refused(ENDLESS["nested loops"]) < 2


def test_message_of_a_refusal() -> None:
    with pytest.raises(TemplateError, match="Only user messages, please"):
        ChatTemplate(BROKEN["refusal"]).render(MESSAGES)


def test_limits_can_be_set() -> None:
    with pytest.raises(TemplateError, match="more than 10 characters"):
        ChatTemplate("{{ 'x' * 11 }}", limits=Limits(output=10)).render(MESSAGES)
    assert ChatTemplate("{{ 'x' * 10 }}", limits=Limits(output=10)).render(MESSAGES) == "x" * 10


def test_messages_are_not_changed() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    ChatTemplate("{% for m in messages %}{% set m = {} %}{% endfor %}").render(messages)
    assert messages == [{"role": "user", "content": [{"type": "text", "text": "a"}]}]


def test_long_conversation() -> None:
    """What conversations need stays far below the limits."""
    source = "{% for m in messages %}{{ '<|' ~ m.role ~ '|>' + m.content | trim + '\\n' }}{% endfor %}"
    messages = [{"role": "user", "content": "word " * 1000}] * 400
    assert len(ChatTemplate(source).render(messages)) == 400 * (5000 - 1 + len("<|user|>\n"))


def test_generation_blocks() -> None:
    assert ChatTemplate("{% set a = 1 %}a{% generation %}b{% set a = 2 %}{% endgeneration %}{{ a }}").render(MESSAGES) == "ab1"
