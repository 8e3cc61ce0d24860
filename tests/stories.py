"""The trained stories model, served; what its answers must be is what ``Model.generate`` says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
from http_serving import PATIENCE, Served, serving, until

import heron
from heron.engine.engine import Engine
from heron.engine.generation import Generation
from heron.engine.model import Prompt
from heron.server.settings import Settings

CHAT = [{"role": "user", "content": "Tell me a story about a cat."}]
TEXT = "Once upon a time, there was a"


class Stories:
    """A server of the model, and the model once more, to ask directly."""

    def __init__(self, served: Served, direct: heron.Model) -> None:
        self.served, self.direct = served, direct
        self.model = served.engine.model
        self.http = httpx.Client(base_url=served.url, timeout=PATIENCE)

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.served.url + "/v1", api_key="none", max_retries=0)

    @property
    def aclient(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.served.url + "/v1", api_key="none", max_retries=0)

    def post(self, path: str, **body: Any) -> Any:
        """The JSON of an answer that must be 200."""
        response = self.http.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, path: str, **body: Any) -> dict[str, Any]:
        """The error of an answer that must be 400."""
        response = self.http.post(path, json=body)
        assert response.status_code == 400, response.text
        error: dict[str, Any] = response.json()["error"]
        assert error["message"] and error["type"] == "invalid_request_error"
        return error

    def generate(self, prompt: Prompt, **sampling: Any) -> Generation:
        return self.direct.generate(prompt, **sampling)


@contextmanager
def serving_stories(shared: Path, settings: Settings | None = None, **engine: Any) -> Iterator[Stories]:
    path = shared / "data/stories/stories260K-f32.gguf"
    model, direct = (heron.load(path, threads=1, ctx_size=512) for _ in range(2))
    with serving(Engine(model, **{"max_seqs": 8, **engine}), settings) as served:
        stories = Stories(served, direct)
        with stories.http:
            yield stories


@contextmanager
def neighbour(stories: Stories) -> Iterator[None]:
    """Streams that are read beside what is tried, and must say what they say alone; afterwards nothing is left behind."""
    how: dict[str, Any] = {"temperature": 1.0, "seed": 11, "max_tokens": 300, "ignore_eos": True}
    alone = stories.generate("Lily and her dog", **how).text
    heard: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            said = ""
            with client.stream("POST", "/v1/completions", json={"prompt": "Lily and her dog", **how, "stream": True}) as response:
                for line in response.iter_lines():
                    if line.startswith("data: {"):
                        said += json.loads(line[6:])["choices"][0]["text"]
            heard.append(said)

    with httpx.Client(base_url=stories.served.url, timeout=60) as client:
        reader = threading.Thread(target=read)
        reader.start()
        try:
            until(lambda: bool(stories.served.engine.snapshot().running or heard))
            yield
        finally:
            done.set()
            reader.join(60)
    assert heard and set(heard) == {alone}
    until(stories.served.is_idle)
