"""llama.cpp's endpoints over plain HTTP, by the fields that its documentation names."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_serving import until
from stories import CHAT, TEXT, Stories, serving_stories

from heron.engine.steps import Steps
from heron.server.infill import SPELLINGS, infill_ids
from heron.text.tokenizer import Tokenizer

GREEDY: dict[str, Any] = {"prompt": TEXT, "temperature": 0, "n_predict": 20}


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared, max_seqs=2) as running:
        yield running


def events(stories: Stories, path: str, **body: Any) -> list[Any]:
    text = stories.http.post(path, json={**body, "stream": True}).text
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]


@pytest.mark.parametrize("path", ["/completion", "/completions"])
def test_a_text_goes_on(stories: Stories, path: str) -> None:
    expected = stories.generate(TEXT, temperature=0, max_tokens=20)
    found = stories.post(path, **GREEDY)
    assert (found["content"], found["stop"], found["stop_type"], found["stopping_word"]) == (expected.text, True, "limit", "")
    assert (found["tokens"], found["truncated"], found["index"], found["model"]) == ([], False, 0, "pocket")
    assert (found["tokens_predicted"], found["tokens_evaluated"]) == (20, len(stories.model.encode(TEXT)))
    assert found["prompt"].removeprefix("<s>").strip() == TEXT
    settings = found["generation_settings"]
    assert (settings["temperature"], settings["n_predict"], settings["top_k"], settings["n_ctx"]) == (0.0, 20, 40, 512)
    timings = found["timings"]
    assert timings["predicted_n"] == 20 and timings["prompt_n"] + timings["cache_n"] == found["tokens_evaluated"]
    assert timings["predicted_per_second"] == pytest.approx(1000 * 20 / timings["predicted_ms"])
    assert stories.post(path, **GREEDY, return_tokens=True)["tokens"] == expected.tokens


def test_how_an_answer_ended(stories: Stories) -> None:
    eos = stories.model.tokenizer.eos
    word = stories.post("/completion", **GREEDY, stop=["nowhere", "little"])
    assert (word["stop_type"], word["stopping_word"]) == ("word", "little")
    assert word["content"] == stories.generate(TEXT, temperature=0, max_tokens=20, stop=["little"]).text
    assert stories.post("/completion", **GREEDY, logit_bias=[[eos, 100]])["stop_type"] == "eos"
    assert stories.post("/completion", **{**GREEDY, "n_predict": 0})["content"] == ""


def test_prompts_of_every_kind(stories: Stories) -> None:
    ids = stories.model.encode(TEXT)
    expected = stories.generate(TEXT, temperature=0, max_tokens=20).text
    begin = stories.model.tokenizer.decode(ids[:1]) + TEXT[:16]
    for prompt in (ids, [ids], [TEXT], [*ids[:-1], " a"], begin + TEXT[16:]):
        assert stories.post("/completion", **{**GREEDY, "prompt": prompt})["content"] == expected
    several = stories.post("/completion", **{**GREEDY, "prompt": [TEXT, ids, "Tom"]})
    assert [one["index"] for one in several] == [0, 1, 2]
    assert [one["content"] for one in several[:2]] == [expected] * 2
    assert len(stories.post("/completion", **{**GREEDY, "n_cmpl": 2})) == 2


def test_a_stream(stories: Stories) -> None:
    expected = stories.generate(TEXT, temperature=0, max_tokens=20)
    found = events(stories, "/completion", **GREEDY)
    assert "".join(event["content"] for event in found) == expected.text
    assert [token for event in found for token in event["tokens"]] == expected.tokens
    assert [event["stop"] for event in found] == [False] * (len(found) - 1) + [True]
    assert [event["tokens_predicted"] for event in found[:-1]] == list(range(1, len(found)))
    assert found[-1]["stop_type"] == "limit" and found[-1]["timings"]["predicted_n"] == 20
    assert "timings" in events(stories, "/completion", **GREEDY, timings_per_token=True)[0]


def test_probabilities(stories: Stories) -> None:
    expected = stories.generate(TEXT, temperature=0, max_tokens=20, top_logprobs=3)
    found = stories.post("/completion", **GREEDY, n_probs=3)["completion_probabilities"]
    assert [entry["id"] for entry in found] == expected.tokens
    assert [entry["logprob"] for entry in found] == pytest.approx(expected.logprobs, abs=1e-5)
    assert all(len(entry["top_logprobs"]) == 3 and entry["top_logprobs"][0]["id"] == entry["id"] for entry in found)
    assert all(entry["bytes"] == list(entry["token"].encode()) for entry in found)
    streamed = [entry for event in events(stories, "/completion", **GREEDY, n_probs=3) for entry in event["completion_probabilities"]]
    assert streamed == found


def test_fields_are_picked(stories: Stories) -> None:
    found = stories.post("/completion", **GREEDY, response_fields=["content", "generation_settings/n_predict", "no/such", "stop/x"])
    assert found.keys() == {"content", "n_predict"}


def test_biases_of_texts_and_bans(stories: Stories) -> None:
    first = stories.generate(TEXT, temperature=0, max_tokens=1).tokens[0]
    found = stories.post("/completion", **GREEDY, logit_bias=[[first, False]], return_tokens=True)
    assert found["tokens"][0] != first
    pushed = stories.post("/completion", **{**GREEDY, "n_predict": 1}, logit_bias={"z": 100})
    assert pushed["content"].strip() == "z" or pushed["content"] == " "


def test_tokens_and_text(stories: Stories) -> None:
    tokenizer = stories.model.tokenizer
    text = "Once upon á <s>"
    assert stories.post("/tokenize", content=text)["tokens"] == tokenizer.encode(text, add_special=False, parse_special=True)
    plain = tokenizer.encode(text, add_special=True, parse_special=False)
    assert stories.post("/tokenize", content=text, add_special=True, parse_special=False)["tokens"] == plain
    assert stories.post("/tokenize", content="")["tokens"] == []
    # The example of llama.cpp's documentation, with this very model.
    pieces = stories.post("/tokenize", content="á", with_pieces=True)["tokens"]
    assert pieces[-2:] == [{"id": 198, "piece": [195]}, {"id": 164, "piece": [161]}]
    assert stories.post("/detokenize", tokens=tokenizer.encode(text))["content"].removeprefix("<s>").strip() == text
    assert stories.refused("/detokenize", tokens=[1, 512])["param"] == "tokens"


def test_a_template_and_its_answer(stories: Stories) -> None:
    prompt = stories.post("/apply-template", messages=CHAT)["prompt"]
    assert prompt == "<s>[INST] Tell me a story about a cat. [/INST]"
    found = stories.post("/completion", **{**GREEDY, "prompt": prompt})
    chat = stories.post("/v1/chat/completions", messages=CHAT, temperature=0, max_tokens=20)
    assert found["content"].lstrip() == chat["choices"][0]["message"]["content"].lstrip()
    assert found["tokens_evaluated"] == chat["usage"]["prompt_tokens"]


def test_props(stories: Stories) -> None:
    found = stories.http.get("/props").json()
    assert found["default_generation_settings"]["n_ctx"] == 512
    assert found["default_generation_settings"]["params"]["temperature"] == 0.8
    assert (found["total_slots"], found["bos_token"], found["eos_token"]) == (2, "<s>", "</s>")
    assert found["model_path"] == "stories260K-f32.gguf" and "[INST]" in found["chat_template"]


def test_slots(stories: Stories, monkeypatch: pytest.MonkeyPatch) -> None:
    def slots() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = stories.http.get("/slots").json()
        return found

    def busy() -> int:
        return sum(slot["is_processing"] for slot in slots())

    compute = Steps.compute
    monkeypatch.setattr(Steps, "compute", lambda steps: (time.sleep(0.01), compute(steps))[1])
    until(lambda: busy() == 0)
    engine = stories.served.engine
    requests = [engine.submit("Once upon", ignore_eos=True, temperature=0, max_tokens=400) for _ in range(3)]
    until(lambda: busy() == 2)
    until(lambda: slots()[0]["next_token"]["n_decoded"] > 2)
    assert [slot["id"] for slot in slots()] == [0, 1]
    assert [slot["id_task"] for slot in slots()] == [request.number for request in requests[:2]]
    assert slots()[0]["n_prompt_tokens"] == slots()[0]["n_prompt_tokens_processed"] == 3
    assert stories.http.get("/slots?fail_on_no_slot=1").status_code == 503
    engine.cancel(*requests)
    until(lambda: busy() == 0)
    assert stories.http.get("/slots?fail_on_no_slot=1").status_code == 200


def test_infill_needs_a_model_for_it(stories: Stories) -> None:
    assert stories.refused("/infill", input_prefix="a", input_suffix="b")["code"] == "no_infill"


class FakeModel:
    """A vocabulary with tokens for filling in: ids are characters' code points, and special tokens from 0x110000 on."""

    def __init__(self, spelled: tuple[str, ...], metadata: dict[str, int] | None = None) -> None:
        self.checkpoint, self.tokenizer = self, self
        self.metadata = metadata or {}
        self.vocab_size, self.prefix = 0x120000, [1]
        self._special = {text: 0x110000 + at for at, text in enumerate(spelled)}

    def id(self, text: str) -> int | None:
        return self._special.get(text)

    def encode(self, text: str, **_: Any) -> list[int]:
        return [ord(character) for character in text]

    def shown(self, ids: list[int]) -> str:
        names = {id: text for text, id in self._special.items()} | {1: "^"}
        return "".join(names.get(id) or chr(id) for id in ids)


@pytest.mark.parametrize("spelled", SPELLINGS, ids=lambda texts: texts[0])
def test_infill_by_each_spelling(spelled: tuple[str, str, str]) -> None:
    model: Any = FakeModel(spelled)
    ids = infill_ids(model, model.encode("AB"), model.encode("CD"), "suffix", begun=model.encode("e"), extra=[("f.py", "x")])
    assert model.shown(ids) == f"^x\n{spelled[0]}AB{spelled[1]}CD{spelled[2]}e"


def test_infill_by_the_files_keys_and_with_other_files() -> None:
    keys = {f"tokenizer.ggml.fim_{name}_token_id": ord(sign) for name, sign in (("pre", "<"), ("suf", "|"), ("mid", ">"))}
    model: Any = FakeModel(("<|repo_name|>", "<|file_sep|>"), keys)
    ids = infill_ids(model, model.encode("AB"), model.encode("CD"), "suffix", extra=[("f.py", "x"), ("g.py", "y")])
    assert model.shown(ids) == "^<|repo_name|>project\n<|file_sep|>f.py\nx\n<|file_sep|>g.py\ny\n<|file_sep|>file\n<AB|CD>"


def test_infill_with_a_published_vocabulary(shared: Path) -> None:
    model: Any = FakeModel(())
    model.tokenizer = tokenizer = Tokenizer.from_file(shared / "data/vocabs/ggml-vocab-starcoder.gguf")
    ids = infill_ids(model, tokenizer.encode("def", add_special=False), [], "suffix")
    assert tokenizer.decode(ids) == "<fim_prefix>def<fim_suffix><fim_middle>"
