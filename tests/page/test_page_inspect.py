"""POST /inspect: what the model reads, and what the prefix cache holds of it."""

from __future__ import annotations

import threading
from typing import Any

from http_serving import Served, serving

from heron import load, pocket
from heron.engine.engine import Engine
from heron.engine.prefix import PrefixCache
from heron.server.settings import Settings

SAID = [
    {"role": "system", "content": "You know every command of Heron's, and answer in a few words, always."},
    {"role": "user", "content": "How do I serve a model on port 8080, with a key, for <|im_end|> everybody in the house?"},
]


def inspect(served: Served, **body: Any) -> dict[str, Any]:
    answer = served.post("/inspect", json={"messages": SAID, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_it_is_the_prompt_of_chat_completions(served: Served) -> None:
    found = inspect(served)
    rendered = served.post("/apply-template", json={"messages": SAID}).json()["prompt"]
    tokenizer = served.engine.model.tokenizer
    assert found["prompt"] == rendered and SAID[1]["content"] in rendered
    assert "".join(token["piece"] for token in found["tokens"]) == rendered
    assert tokenizer.decode([token["id"] for token in found["tokens"]]) == rendered
    assert found["context_length"] == served.engine.context_length
    usage = served.post("/v1/chat/completions", json={"messages": SAID, "max_tokens": 1}).json()["usage"]
    assert len(found["tokens"]) == usage["prompt_tokens"]


def test_special_is_what_the_template_wrote(served: Served) -> None:
    specials = [token for token in inspect(served)["tokens"] if token["special"]]
    ends = [token for token in specials if token["piece"] == "<|im_end|>"]
    assert len(ends) == len(SAID)  # not the one in the question


def test_bytes_that_are_no_character_are_written_out(served: Served) -> None:
    found = inspect(served, messages=[{"role": "user", "content": "🪶"}])
    pieces = "".join(token["piece"] for token in found["tokens"])
    assert "🪶" in pieces or "\\xf0\\x9f" in pieces


def test_what_was_computed_is_foretold() -> None:
    with serving(Engine(load(pocket.path(), threads=1))) as served:
        assert inspect(served)["cached_tokens"] == 0
        served.post("/v1/chat/completions", json={"messages": SAID, "max_tokens": 1})
        foretold = inspect(served)["cached_tokens"]
        usage = served.post("/v1/chat/completions", json={"messages": SAID, "max_tokens": 1}).json()["usage"]
        assert foretold == usage["prompt_tokens_details"]["cached_tokens"] > 0


def test_a_prompt_that_is_too_long_is_shown_too(served: Served) -> None:
    found = inspect(served, messages=[{"role": "user", "content": "word " * served.engine.context_length}])
    assert len(found["tokens"]) > found["context_length"]


def test_what_is_wrong_with_it(served: Served) -> None:
    assert served.post("/inspect", json={"messages": []}).status_code == 400
    assert served.post("/inspect", json={"messages": [{"role": "user"}]}).status_code == 400


def test_it_wants_the_key() -> None:
    with serving(None, Settings(api_keys=("k",))) as locked:
        assert locked.post("/inspect", json={"messages": SAID}).status_code == 401


def everything(cache: PrefixCache) -> Any:
    """All that a look could change, in its order."""
    tables = (cache._owners, cache._key_of, cache._named, cache._free)
    return (
        [{name: str(table[name]) for name in cache.groups} for table in tables],
        {name: list(cache._idle[name]) for name in cache.groups},
        list(cache._seen),
        list(cache._partings),
    )


def test_looking_changes_nothing() -> None:
    with Engine(load(pocket.path(), threads=1)) as engine:
        prompts = [[(7 * at + start) % 200 + 10 for at in range(100)] for start in range(3)]
        for prompt in prompts:
            engine.submit(prompt, max_tokens=1)
            while engine.step():
                pass
        before = everything(engine.cache)
        assert [engine.cached_tokens([*prompt, 1]) for prompt in prompts] == [96] * 3
        assert engine.cached_tokens(prompts[0][:33]) == 32 and engine.cached_tokens(prompts[0][:32]) == 16  # one is left to compute
        assert engine.cached_tokens([]) == engine.cached_tokens([1]) == engine.cached_tokens([1] * 50) == 0
        assert everything(engine.cache) == before


def test_it_may_be_asked_while_the_engine_is_at_work() -> None:
    with Engine(load(pocket.path(), threads=1), kv_cache_size=512, max_seqs=4) as engine:  # so small that blocks are taken away
        engine.start()
        prompts = [[(3 * at + start) % 200 + 10 for at in range(120)] for start in range(12)]
        faults: list[BaseException] = []
        done = threading.Event()

        def look() -> None:
            try:
                while not done.is_set():
                    assert all(engine.cached_tokens(prompt) in range(0, 113, 16) for prompt in prompts)
            except BaseException as error:
                faults.append(error)

        looking = threading.Thread(target=look)
        looking.start()
        for _ in range(3):
            for request in [engine.submit(prompt, max_tokens=4, temperature=0) for prompt in prompts]:
                request.result()
        done.set()
        looking.join()
        assert not faults
        assert all(engine.cache.in_use(name) == 0 for name in engine.cache.groups)


def test_an_engine_without_a_prefix_cache_foretells_nothing() -> None:
    with Engine(load(pocket.path(), threads=1), prefix_cache=False) as engine:
        engine.submit(list(range(10, 90)), max_tokens=1)
        while engine.step():
            pass
        assert engine.cached_tokens(list(range(10, 90))) == 0
