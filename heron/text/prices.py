"""What the expressions of a template cost: asked of the budget before they are computed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError

from heron.errors import TemplateError
from heron.text.budget import Budget, current

# Filters that hand on what they are given, without writing it out as text; tojson asks the budget itself.
_STRUCTURAL = frozenset(
    (
        *("abs", "attr", "batch", "count", "d", "default", "dictsort", "first", "float", "groupby", "int", "items", "last", "length"),
        *("list", "map", "max", "min", "random", "reject", "rejectattr", "reverse", "round", "select", "selectattr", "slice", "sort"),
        *("sum", "tojson", "unique"),
    )
)
# Filters that make a list with an entry for each of the value's.
_LISTING = frozenset(("batch", "groupby", "list", "reverse", "slice", "sort", "unique"))
_SIZED = frozenset(("batch", "center", "indent", "round", "slice", "truncate"))
MAX_BITS = 4096


def entry_size(value: Any) -> int:
    """What an entry of it costs: a character one, an entry of a list the pointer and object behind it."""
    return 1 if isinstance(value, (str, bytes)) else 16


def check_product(budget: Budget, left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_BITS:
            raise TemplateError("the chat template computes a number that is too large; use another template")
        return
    text, times = (right, left) if isinstance(left, int) else (left, right)
    if isinstance(times, int) and hasattr(text, "__len__"):
        budget.charge(len(text) * times * entry_size(text))


def check_format(budget: Budget, pattern: str, values: tuple[Any, ...]) -> None:
    """Formats with widths that are large, or not written in the pattern, are refused."""
    if re.search(r"\d{5}", pattern) or re.search(r"%[^a-zA-Z%]*\*|\{[^{}]*\{[^{]", pattern):
        raise TemplateError("the chat template formats text to a width that is too large or not constant; use another template")
    before = budget.measure(list(values))[0]
    longest = max((len(value) for value in values if isinstance(value, (str, list, dict, tuple))), default=32)
    budget.charge((pattern.count("%") + pattern.count("{")) * longest * before)


def checked_text_method(budget: Budget, text: Any, name: str, args: tuple[Any, ...], named: Iterable[Any]) -> tuple[Any, ...]:
    """The arguments of a method of `text` (str or bytes), after what it will make has been charged for. `named` are further ones."""
    if name in ("translate", "maketrans", "format_map"):
        raise SecurityError(f"the method {name!r} of strings is not allowed")
    budget.charge(len(text))
    if name in ("ljust", "rjust", "center", "zfill", "expandtabs"):
        numbers = [arg for arg in (*args, *named) if isinstance(arg, int)]
        budget.width(*numbers)
        budget.charge(sum(numbers) * (len(text) if name == "expandtabs" else 1))
    if name in ("split", "rsplit", "splitlines"):
        parts = text.count(args[0]) if args and args[0] and isinstance(args[0], type(text)) else len(text) // 2
        budget.charge(parts * 16)
    if name == "replace" and len(args) >= 2 and all(isinstance(arg, type(text)) for arg in args[:2]):
        budget.charge(text.count(args[0]) * len(args[1]))
    if name == "join" and args and not isinstance(args[0], (str, bytes)):
        return (_listed(budget, args[0], len(text)), *args[1:])
    if name == "join" and args:
        budget.charge(len(args[0]) * (len(text) + 1))
    return args


def _listed(budget: Budget, values: Iterable[Any], separator: int) -> list[Any]:
    items = []
    for value in values:
        budget.measure(value)
        budget.charge(separator)
        items.append(value)
    return items


def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that asks the budget before it runs, and tells it what it made."""
    # Filters that want the context, the environment or its state get that before the value.
    at = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        budget = current()
        budget.tick()
        value, options = args[at] if len(args) > at else None, (*args[at + 1 :], *kwargs.values())
        if name in _SIZED:
            budget.width(*options)
        if name in _LISTING and isinstance(value, (str, list, tuple, dict, range)):
            budget.charge(len(value) * 16)
        if name == "sum" and any(not isinstance(option, (int, float, str)) for option in options):
            raise TemplateError("the chat template sums what is not numbers; use another template")
        if name == "join" and not isinstance(value, (str, Undefined)) and value is not None:
            value = _listed(budget, value, sum(len(option) for option in options if isinstance(option, str)))
            args = (*args[:at], value, *args[at + 1 :])
        elif name not in _STRUCTURAL and not isinstance(value, Undefined):
            budget.measure(value)
        if name == "replace" and len(options) >= 2:
            budget.charge(str(value).count(str(options[0])) * len(str(options[1])))
        elif name == "indent":
            step = sum(option if isinstance(option, int) else len(option) for option in options if isinstance(option, (int, str)))
            budget.charge((str(value).count("\n") + 1) * (step or 4))
        elif name == "format":
            check_format(budget, str(value), options)
        result = function(*args, **kwargs)
        budget.charge(len(result) * entry_size(result) if isinstance(result, (str, list)) else 0)
        return result

    return checked


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers' templates expect it: no escapes for HTML, all of Unicode as it is."""
    budget = current()
    if separators is not None and sum(map(len, separators)) > 16:
        raise TemplateError("the chat template writes JSON with separators that are too long; use another template")
    step = len(indent) if isinstance(indent, str) else indent or 0
    budget.width(step)
    entries, depth = budget.measure(value)
    budget.charge(entries * (step * depth + 16))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
