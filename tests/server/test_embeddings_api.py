"""Embeddings through OpenAI's own client: the vectors of ``Model.embed``, of decoders and of encoders."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from http_serving import Served, serving
from stories import TEXT, Stories, serving_stories
from tiny_gguf import write_tiny
from tiny_models import make

import heron
from heron.engine.engine import Engine


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared) as running:
        yield running


def test_the_vectors_are_the_models(stories: Stories) -> None:
    texts = [TEXT, "Lily", "Tom and the big dog. " * 10]
    expected = stories.direct.embed(texts)
    found = stories.client.embeddings.create(model="m", input=texts)  # the client asks for base64
    assert [item.index for item in found.data] == [0, 1, 2]
    assert np.allclose([item.embedding for item in found.data], expected, atol=1e-5)
    assert np.allclose(np.linalg.norm([item.embedding for item in found.data], axis=1), 1, atol=1e-5)
    count = sum(len(stories.model.encode(text)) for text in texts)
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (count, count)


def test_inputs_and_encodings(stories: Stories) -> None:
    expected = stories.direct.embed([TEXT])[0]
    ids = stories.model.encode(TEXT)
    for given in (TEXT, [TEXT], ids, [ids]):
        floats = stories.client.embeddings.create(model="m", input=given, encoding_format="float")  # type: ignore[arg-type]
        assert np.allclose(floats.data[0].embedding, expected, atol=1e-5)
    raw = stories.post("/v1/embeddings", input=TEXT, encoding_format="base64")["data"][0]["embedding"]
    assert np.allclose(np.frombuffer(base64.b64decode(raw), "<f4"), expected, atol=1e-5)


def test_fewer_dimensions_have_length_one_again(stories: Stories) -> None:
    expected = stories.direct.embed([TEXT])[0][:7]
    found = stories.client.embeddings.create(model="m", input=TEXT, dimensions=7).data[0].embedding
    assert np.allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_an_encoder(tmp_path: Path) -> None:
    model = heron.load(write_tiny(make("bert", tmp_path).folder), threads=1)
    direct = heron.load(model.checkpoint.path, threads=1)
    prompts = [[3, 4, 5], [7], [8, 9, 10, 11]]
    with serving(Engine(model)) as served:
        client = openai.OpenAI(base_url=served.url + "/v1", api_key="none", max_retries=0)
        found = client.embeddings.create(model="m", input=prompts)
        assert np.allclose([item.embedding for item in found.data], direct.embed(prompts), atol=1e-5)
        assert found.usage.prompt_tokens == 8
        _refuses_text(served)


def _refuses_text(served: Served) -> None:
    for path, body in (("/v1/completions", {"prompt": [3, 4]}), ("/completion", {"prompt": [3, 4]})):
        answer = served.post(path, json=body)
        assert answer.status_code == 400 and "vectors" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [1, 99999]}, "input.0"),
        ({"input": [[1], [-4]]}, "input.1"),
        ({"input": [1, "a"]}, "input.0"),
        ({"input": None}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a"] * 3000}, "input"),
        ({"input": "a " * 2000}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 10**6}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_what_is_wrong_is_named(stories: Stories, body: dict[str, object], param: str) -> None:
    assert stories.refused("/v1/embeddings", **body)["param"] == param
