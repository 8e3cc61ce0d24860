"""Clients that need an environment of their own: lm-eval and langchain-openai, unmodified.

python -m venv CLIENTS && CLIENTS/bin/pip install "lm-eval[api]" transformers langchain-openai
HERON_TEST_CLIENTS=CLIENTS/bin/python python -m pytest -m slow tests/server/test_other_clients.py
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_serving import serving
from stories import CHAT, TEXT, Stories, serving_stories

import heron
from heron.engine.engine import Engine
from heron.engine.model import Model

pytestmark = pytest.mark.slow

PYTHON = os.environ.get("HERON_TEST_CLIENTS", "")


def run(module: str, *arguments: str, **environment: str) -> str:
    """What a Python of the other environment prints; skips where it has no such module."""
    if not PYTHON or subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode:
        pytest.skip(f"HERON_TEST_CLIENTS names no Python with {module}")
    done = subprocess.run([PYTHON, *arguments], capture_output=True, text=True, env={**os.environ, **environment}, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared) as running:
        yield running


LANGCHAIN = """
import asyncio, json, sys
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

url, messages, text = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
how = {"base_url": url, "api_key": "none", "model": "m", "temperature": 0, "max_tokens": 20}
chat, plain = ChatOpenAI(**how), OpenAI(**how)

@tool
def add(a: int, b: int) -> int:
    "Add numbers."
    return a + b

async def several():
    return [answer.content for answer in await chat.abatch([messages, messages])]

whole, parts = chat.invoke(messages), list(chat.stream(messages, stream_usage=True))
embeddings = OpenAIEmbeddings(base_url=url, api_key="none", model="m", check_embedding_ctx_length=False)
print(json.dumps({
    "chat": whole.content,
    "usage": whole.usage_metadata,
    "streamed": "".join(part.content for part in parts),
    "streamed usage": next(part.usage_metadata for part in parts if part.usage_metadata),
    "several": asyncio.run(several()),
    "plain": plain.invoke(text),
    "plain streamed": "".join(plain.stream(text)),
    "tools": isinstance(chat.bind_tools([add]).invoke(messages).content, str),
    "logprobs": len(chat.bind(logprobs=True, top_logprobs=2).invoke(messages).response_metadata["logprobs"]["content"]),
    "vectors": embeddings.embed_documents([text, "Lily"]),
}))
"""


def test_langchain(stories: Stories) -> None:
    found = json.loads(run("langchain_openai", "-c", LANGCHAIN, stories.served.url + "/v1", json.dumps(CHAT), TEXT))
    chat = stories.generate(CHAT, temperature=0, max_tokens=20).text
    plain = stories.generate(TEXT, temperature=0, max_tokens=20).text
    assert found["chat"] == found["streamed"] == chat and found["several"] == [chat, chat]
    assert found["plain"] == found["plain streamed"] == plain
    for usage in (found["usage"], found["streamed usage"]):
        assert (usage["input_tokens"], usage["output_tokens"]) == (len(stories.model.encode(CHAT)), 20)
    assert found["tools"] and found["logprobs"] == 20
    assert np.allclose(found["vectors"], stories.direct.embed([TEXT, "Lily"]), atol=1e-5)


#: Tasks of lm-eval's three kinds, over lines of JSON.
TASKS = {
    "choose": {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": "{{label}}", "metric": "acc"},
    "go_on": {"output_type": "generate_until", "doc_to_target": "{{choices[label]}}", "metric": "exact_match"},
    "read": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}", "metric": "word_perplexity"},
}
LINES = [
    {"text": "Once upon a time,", "choices": [" there was a little girl.", " banana the house of."], "label": 0},
    {"text": "Lily was a", "choices": [" very house of the cat", " little girl who loved to play.", " run dog the tree"], "label": 1},
    {"text": "The cat sat on the mat and", "choices": [" was very happy to see her.", " very and of he under"], "label": 0},
]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    data = tmp_path / "lines.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    for name, task in TASKS.items():
        written: dict[str, Any] = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}}
        written |= {"test_split": "test", "doc_to_text": "{{text}}", **task, "metric_list": [{"metric": task["metric"]}]}
        del written["metric"]
        if name == "go_on":
            written["generation_kwargs"] = {"until": ["."], "max_gen_toks": 12}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(written))  # JSON is YAML
    return tmp_path


def scored(model: Model, context: list[int], goes_on: list[int]) -> tuple[float, bool]:
    """The log-probability of what goes on, and whether it is what the model holds likeliest: in float64, of the model's own logits."""
    raw = model.logits([*context, *goes_on]).astype(np.float64)[len(context) - 1 : -1]
    found = raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))
    return float(found[range(len(goes_on)), goes_on].sum()), bool((found.argmax(axis=1) == goes_on).all())


def test_lm_eval(shared: Path, tasks: Path) -> None:
    """Its scores are those of the model's logits, its answers those of ``generate``."""
    folder = shared / "data/tinystories-656K"
    model, direct = (heron.load(folder, threads=1, ctx_size=512) for _ in range(2))
    with serving(Engine(model)) as served:
        how = f"model=m,base_url={served.url}/v1/completions,tokenizer={folder},num_concurrent=3,max_length=512"
        command = ["-m", "lm_eval", "--model", "local-completions", "--model_args", how, "--tasks", ",".join(TASKS)]
        offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tasks / "hub")}
        run("lm_eval", *command, "--include_path", str(tasks), "--log_samples", "--output_path", str(tasks / "out"), **offline)
    samples = {
        name: [json.loads(line) for path in tasks.glob(f"out/**/samples_{name}_*.jsonl") for line in path.read_text().splitlines()]
        for name in TASKS
    }
    encode = direct.tokenizer.encode
    for sample in samples["choose"]:
        for asked, ((logprob, greedy),) in zip(sample["arguments"].values(), sample["resps"], strict=True):
            context, whole = (encode(text, add_special=False) for text in (asked["arg_0"], asked["arg_0"] + asked["arg_1"]))
            assert len(whole) > len(context)  # lm-eval cuts there, whatever the tokens before
            expected = scored(direct, context, whole[len(context) :])
            assert float(logprob) == pytest.approx(expected[0], abs=1e-4) and (str(greedy) == "True") == expected[1]
    for sample in samples["go_on"]:
        ids = encode(sample["doc"]["text"], add_special=False)
        assert sample["resps"] == [[direct.generate(ids, temperature=0, max_tokens=12, stop=["."]).text]]
    for sample in samples["read"]:
        ids = encode(sample["doc"]["text"], add_special=False)
        first = direct.tokenizer.bos  # lm-eval puts it in front of a text that nothing stands before
        assert float(sample["resps"][0][0]) == pytest.approx(scored(direct, [int(first or 0)], ids)[0], abs=1e-4)
    assert all(len(found) == len(LINES) for found in samples.values())
