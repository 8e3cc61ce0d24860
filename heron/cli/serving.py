"""What `heron serve` serves: the models that its command line names, or all that are here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from heron import pocket
from heron.cli.opening import locate
from heron.errors import RequestError
from heron.hub import cache
from heron.hub.names import Name
from heron.server.catalog import Catalog, Entry


def catalog_of(models: Sequence[str], aliases: Sequence[str]) -> Catalog:
    """One model is loaded at the start, and is meant by any name; several, or those of the cache if none is named, are loaded on demand.

    ``aliases`` are names of the one model, or a name for each of several in their order, or NAME=MODEL. Raises RequestError for those that
    fit none of this, and for models that cannot be told apart.
    """
    given = [_given(model) for model in models]
    named = _renamed(given, _by_model(aliases, models, given)) if given else given
    if len(named) == 1:
        only = replace(named[0], pinned=True)
        return Catalog(lambda: [only], otherwise=only)
    if named:
        _must_differ(named)
        return Catalog(lambda: named)
    wanted = _by_model(aliases, (), _here())
    return Catalog(lambda: _renamed(_here(), wanted))


def _given(model: str) -> Entry:
    path = locate(model)
    return Entry((cache.called(path),), path, None if os.path.exists(os.path.expanduser(model)) else cache.named(model, cache.folder()))


def _here() -> list[Entry]:
    """The pocket model, and the models of the cache by their names on the hub."""
    found = [Entry((cache.called(path),), path) for path in [pocket.path()] if path.exists()]
    return found + [Entry((str(each.name),), each.path, each.name) for each in cache.models(cache.folder()) if each.path is not None]


Named = list[tuple[str, Name | Path]]  # a name, and the model that it is for: on the hub, or its file


def _by_model(aliases: Sequence[str], models: Sequence[str], there: Sequence[Entry]) -> Named:
    """Raises RequestError for an alias of no model here."""
    pairs = [tuple(alias.split("=", 1)) for alias in aliases if "=" in alias]
    plain = [alias for alias in aliases if "=" not in alias]
    if plain and (pairs or len(models) not in (1, len(plain))):
        what = f"{len(models)} models are served" if models else "all models of the cache are served"
        raise RequestError(f"--alias {plain[0]!r} does not say of which model, and {what}; write --alias NAME=MODEL")
    if not all(map(str.strip, aliases)) or any(not part for pair in pairs for part in pair):
        raise RequestError("an --alias is empty; write NAME, or NAME=MODEL")
    of_plain = [(name, models[at if len(models) > 1 else 0]) for at, name in enumerate(plain)]
    named = [*of_plain, *((name, model) for name, model in pairs)]
    for name, model in named:
        if _find(model, models, there) is None:
            raise RequestError(f"--alias {name}={model}: no such model is served; there are {_listed(there)}")
    if twice := [name for name, count in Counter(name for name, _ in named).items() if count > 1]:
        raise RequestError(f"--alias {twice[0]} is given twice")
    return [(name, _key(entry)) for name, model in named if (entry := _find(model, models, there))]


def _key(entry: Entry) -> Name | Path:
    """What stays while a model is called otherwise, or pulled anew."""
    return entry.hub or entry.path


def _find(model: str, models: Sequence[str], there: Sequence[Entry]) -> Entry | None:
    """As it stands in the command line, or by a name."""
    return there[models.index(model)] if model in models else Catalog(lambda: there).find(model)


def _renamed(entries: Iterable[Entry], named: Named) -> list[Entry]:
    """Models by the names that are given for them, or else their own."""
    return [replace(entry, names=tuple(name for name, of in named if of == _key(entry)) or entry.names) for entry in entries]


def _must_differ(entries: Sequence[Entry]) -> None:
    for of, what in ((lambda entry: entry.path.resolve(), "named twice"), (lambda entry: entry.name, "called so twice")):
        again = [key for key, count in Counter(map(of, entries)).items() if count > 1]
        if again:
            hint = "leave one out" if what == "named twice" else "tell them apart with --alias NAME=MODEL"
            raise RequestError(f"the model {str(again[0])!r} is {what}; {hint}")


def _listed(entries: Sequence[Entry]) -> str:
    return ", ".join(entry.name for entry in entries[:10]) or "none"
