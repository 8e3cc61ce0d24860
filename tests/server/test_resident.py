"""What an unloaded model leaves: nothing."""

from __future__ import annotations

import sys
import weakref
from types import SimpleNamespace
from typing import Any, cast

import pytest

import heron
from heron import pocket
from heron.engine.constrain import Constraint
from heron.engine.engine import Engine
from heron.server.catalog import Entry
from heron.server.resident import Resident

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dry": {"dry_multiplier": 0.8},
    "regex": {"constraint": Constraint("regex", "[a-z ]+")},
    "schema": {"constraint": Constraint("json_schema", '{"type": "integer"}')},
    "grammar": {"constraint": Constraint("gbnf", 'root ::= "a" | "b"')},
    "scored": {"prompt_logprobs": 2, "top_logprobs": 2},
    "drafted": {"speculate": "ngram"},
    "chat": {"prompt": [{"role": "user", "content": "Hello"}]},
}


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "xpu", "mps", "cpu"])
def test_a_gpus_memory_is_for_other_programs_again(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once nothing of the model is left that torch could hold on to."""

    class Engine:
        def __init__(self) -> None:
            self.model, self.itself = SimpleNamespace(device=device, close=lambda: None), self

        def close(self) -> None:
            pass

    emptied: list[str] = []

    def kind(name: str) -> Any:
        return SimpleNamespace(empty_cache=lambda: emptied.append(name if left() is None else "too early"))

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(**{name: kind(name) for name in ("cuda", "xpu", "mps")}))
    engine = Engine()
    left, resident = weakref.ref(engine), Resident(Entry(("m",), pocket.path()), cast(Any, engine))
    del engine
    resident.close()
    assert emptied == ([] if device == "cpu" else [device.partition(":")[0]])


def test_an_engine_that_does_not_end_well_takes_its_model_with_it() -> None:
    closed: list[str] = []

    def fail() -> None:
        raise MemoryError("too little for a cache of its own")

    engine = SimpleNamespace(model=SimpleNamespace(device="cpu", close=lambda: closed.append("model")), close=fail)
    resident = Resident(Entry(("m",), pocket.path()), cast(Any, engine))
    with pytest.raises(MemoryError):
        resident.close()
    assert closed == ["model"]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_a_model_stays_whatever_it_was_asked(way: str) -> None:
    """Its vocabulary above all, which is many megabytes and known to caches and to libraries."""

    def used() -> list[weakref.ref[Any]]:
        model = heron.load(pocket.path(), threads=1)
        engine = Engine(model, max_seqs=2)
        engine.start()
        engine.submit(**{"prompt": "heron", "max_tokens": 4} | WAYS[way]).result()
        engine.embed(["heron"])
        there = [model, engine, model.tokenizer, model.grammars, model.checkpoint, model.executable, model.graph_model]
        resident = Resident(Entry(("pocket",), pocket.path()), engine)
        refs = [weakref.ref(each) for each in there]
        del model, engine, there
        resident.close()
        return refs

    assert not [type(found).__name__ for ref in used() if (found := ref()) is not None]
