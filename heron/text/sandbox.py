"""Jinja for templates that nobody has vetted: no way out of it, and limits on time, memory and output.

Jinja's own sandbox keeps templates from Python's internals. It lets them run for ever and fill the memory, in loops as
well as in single expressions ('x' * 10**9). So a template's syntax tree is changed before it is compiled: loops and
macros call `tick`, and what makes strings or lists asks the budget first.
The conventions are those of transformers' chat templates.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from jinja2 import Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from heron.errors import TemplateError
from heron.text.budget import current
from heron.text.prices import MAX_BITS, check_format, check_product, checked_text_method, entry_size, tojson, watched

_UNNEEDED_FILTERS = ("urlize", "striptags", "xmlattr", "pprint", "wordwrap")
_NUMBER_METHODS = frozenset(("as_integer_ratio", "bit_count", "bit_length", "conjugate", "hex", "is_integer"))


class Refused(JinjaError):
    """What a template's `raise_exception` raises."""


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment in which chat templates are compiled. Rendering needs a current budget."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))

    def __init__(self) -> None:
        # Folding constants would compute 'x' * 10**9 while the template is compiled, where no budget is.
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], optimized=False, finalize=_written)
        self.filters["tojson"] = tojson
        for name in _UNNEEDED_FILTERS:
            del self.filters[name]
        self.filters = {name: watched(name, function) for name, function in self.filters.items()}
        del self.globals["lipsum"]
        self.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now, range=_range)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Watch(self).visit(super()._parse(source, name, filename))
        return tree

    def tick(self, characters: int = 0) -> bool:
        """Put at the head of every body that may run again; `characters` are those of the text in it."""
        current().emit(characters)
        return True

    def joined(self, *values: Any) -> str:
        """a ~ b"""
        for value in values:
            current().measure(value)
        return "".join(map(str, values))

    def sliced(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        """value[start:stop:step]"""
        if isinstance(value, Undefined):
            return value[start:stop:step]
        current().charge(len(value) * entry_size(value))
        return value[start:stop:step]

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        raise SecurityError(f"access to the attribute {attribute!r} of a {type(obj).__name__} is not allowed")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = current()
        if operator == "*" and not (isinstance(left, float) or isinstance(right, float)):
            check_product(budget, left, right)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * abs(right) > MAX_BITS:
                raise TemplateError("the chat template computes a number that is too large; use another template")
        elif operator == "%" and isinstance(left, (str, bytes)):
            check_format(budget, str(left), right if isinstance(right, tuple) else (right,))
        elif operator == "+" and isinstance(left, (str, bytes, list, tuple)) and isinstance(right, (str, bytes, list, tuple)):
            budget.charge((len(left) + len(right)) * entry_size(left))
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        function = super().wrap_str_format(value)
        if function is None:
            return None

        def checked(*args: Any, **kwargs: Any) -> str:
            check_format(current(), str(value.__self__), (*args, *kwargs.values()))
            return function(*args, **kwargs)

        return checked

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        budget = current()
        budget.tick()
        owner = getattr(function, "__self__", None)
        if isinstance(owner, (str, bytes)):
            args = checked_text_method(budget, owner, function.__name__, args, kwargs.values())
        elif isinstance(owner, (int, float)) and function.__name__ not in _NUMBER_METHODS:
            raise SecurityError(f"the method {function.__name__!r} of numbers is not allowed")
        elif isinstance(owner, (list, tuple, dict)):
            budget.charge(len(owner) * entry_size(owner) if function.__name__ == "copy" else 0)
        return super().call(context, function, *args, **kwargs)


class _Watch(NodeTransformer):
    """Puts the budget's checks into a template's syntax tree."""

    def __init__(self, environment: Sandbox) -> None:
        self._environment = environment

    def _method(self, name: str, arguments: list[nodes.Expr], at: nodes.Node) -> nodes.Call:
        call = nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None)
        for node in (call, call.node, *(argument for argument in arguments if isinstance(argument, nodes.Const))):
            node.set_lineno(at.lineno, override=True)
            node.set_environment(self._environment)
        return call

    def _tick(self, body: list[nodes.Node], at: nodes.Node) -> nodes.Call:
        text = sum(
            len(data.data)
            for node in body
            for data in ([node] if isinstance(node, nodes.TemplateData) else node.find_all(nodes.TemplateData))
        )
        return self._method("tick", [nodes.Const(text)], at)

    def _body(self, node: nodes.For | nodes.Macro | nodes.CallBlock) -> nodes.Node:
        tick = nodes.ExprStmt(self._tick(node.body, node)).set_lineno(node.lineno)
        self.generic_visit(node)
        node.body.insert(0, tick)
        if isinstance(node, nodes.For) and node.test is not None:
            node.test = nodes.And(self._tick([], node), node.test).set_lineno(node.lineno)
        return node

    visit_For = visit_Macro = visit_CallBlock = _body

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self._method("joined", node.nodes, node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        bounds = [bound if bound is not None else nodes.Const(None) for bound in (node.arg.start, node.arg.stop, node.arg.step)]
        return self._method("sliced", [node.node, *bounds], node)


class _Generation(Extension):
    """{% generation %} ... {% endgeneration %}, which marks what the model wrote, for training."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own interface

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


@pass_context
def _written(context: Context, value: Any) -> Any:
    """What {{ value }} writes. That it asks for the context keeps Jinja from calling it while it compiles."""
    if isinstance(value, str):
        current().emit(len(value))
    elif not isinstance(value, Undefined):
        current().measure(value)
    return value


def _raise_exception(message: Any) -> None:
    raise Refused(str(message))


def _strftime_now(format: str) -> str:
    if len(format) > 1000:
        raise TemplateError("the chat template asks for a date in a format that is too long; use another template")
    return datetime.now().strftime(format)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    current().width(len(numbers))
    return numbers
