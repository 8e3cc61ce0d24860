"""What Prometheus is told is what was done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_serving import Served, serving, until
from prometheus_client.parser import text_string_to_metric_families

from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.engine.statistics import Distribution
from heron.server.settings import Settings

ASKED = {"prompt": [5] * 70, "max_tokens": 12, "ignore_eos": True}


@pytest.fixture
def served(model: Model) -> Iterator[Served]:
    with serving(Engine(model, max_seqs=1), Settings()) as running:
        yield running


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(served: Served) -> Samples:
    response = served.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(response.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"heron_{name}", frozenset(labels.items())]


def test_counts_after_answers(served: Served) -> None:
    for _ in range(2):
        assert served.post("/test/answer", json=ASKED).status_code == 200
    served.get("/v1/models/none")
    served.get("/made/up/1")
    served.get("/made/up/2")
    seen = scrape(served)
    assert value(seen, "prompt_tokens_total") == 140
    assert value(seen, "prefix_cache_hit_tokens_total") == 64
    assert value(seen, "generated_tokens_total") == 24
    assert value(seen, "requests_ended_total", reason="length") == 2
    assert value(seen, "time_to_first_token_seconds_count") == 2
    assert value(seen, "time_between_tokens_seconds_count") == 22
    assert value(seen, "time_between_tokens_seconds_bucket", le="+Inf") == 22
    assert 0 < value(seen, "time_between_tokens_seconds_sum") < value(seen, "http_request_seconds_sum", path="/test/answer")
    assert value(seen, "http_requests_total", path="/test/answer", method="POST", status="200") == 2
    assert value(seen, "http_requests_total", path="/v1/models/{name:path}", method="GET", status="404") == 1
    assert value(seen, "http_requests_total", path="other", method="GET", status="404") == 2
    assert (value(seen, "requests_running"), value(seen, "requests_waiting"), value(seen, "kv_cache_usage_ratio")) == (0, 0, 0)
    assert value(seen, "ready") == 1


def test_gauges_while_requests_run(served: Served) -> None:
    long = [served.engine.submit([5] * 300, max_tokens=700, ignore_eos=True) for _ in range(3)]
    until(lambda: bool(served.engine.snapshot().running))
    seen = scrape(served)
    assert (value(seen, "requests_running"), value(seen, "requests_waiting")) == (1, 2)
    assert 0 < value(seen, "kv_cache_usage_ratio") < 1
    assert value(seen, "kv_cache_units", group="full", state="used") > 0
    served.engine.cancel(*long)
    until(served.is_idle)
    assert value(scrape(served), "requests_ended_total", reason="cancelled") == 3


def test_methods_that_nobody_knows_are_one(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(b"PROPFIND /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 405")
    assert value(scrape(served), "http_requests_total", path="/health", method="other", status="405") == 1


def test_a_distribution_counts_by_bounds() -> None:
    times = Distribution((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 2.5, 9.0):
        times.add(seconds)
    assert times.counts == [2, 1, 2]
    assert times.total == 14.5
