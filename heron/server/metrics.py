"""GET /metrics: what the server does and has done, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import TYPE_CHECKING, TypeVar

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from heron.engine.statistics import Distribution, Snapshot

if TYPE_CHECKING:
    from heron.server.pool import Pool
    from heron.server.state import ServerState

router = APIRouter(tags=["server"])

#: Seconds from a request's arrival to the end of its answer.
_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


@router.get("/metrics", summary="Counts and times, for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Requests by path and status; requests waiting and running; tokens; the time to the first token and between tokens; the cache."""
    state: ServerState = request.app.state.heron
    return Response(generate_latest(state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


class Metrics:
    """Counts of one server. What its engines count is asked of them when somebody looks."""

    def __init__(self, state: ServerState) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_EngineMetrics(state))
        self._requests = Counter("heron_http_requests", "Requests answered", ("path", "method", "status"), registry=self.registry)
        self._seconds = Histogram(
            "heron_http_request_seconds", "Time to the end of the answer", ("path",), buckets=_SECONDS, registry=self.registry
        )

    def request(self, path: str, method: str, status: int, seconds: float) -> None:
        """``path`` is the route's, so that clients cannot make up new ones."""
        self._requests.labels(path, method if method in _METHODS else "other", status).inc()
        self._seconds.labels(path).observe(seconds)


class _EngineMetrics(Collector):
    def __init__(self, state: ServerState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state
        yield GaugeMetricFamily("heron_ready", "Whether requests are taken", value=state.is_ready)
        yield GaugeMetricFamily("heron_http_requests_in_progress", "HTTP requests under way", value=state.active)
        now = {resident.entry.name: resident.engine.snapshot() for resident in state.pool.residents.values()}
        yield from _families(reduce(Snapshot.plus, (*now.values(), *state.pool.counts.past.values()), Snapshot()))
        yield from _of_models(state.pool, now)


def _of_models(pool: Pool, now: Mapping[str, Snapshot]) -> Iterator[Metric]:
    """Each model by its name. What was done by engines that are gone counts."""
    counts = pool.counts
    yield GaugeMetricFamily("heron_models_loaded", "Models in memory", value=len(pool.residents))
    yield GaugeMetricFamily("heron_model_requests_waiting", "Requests that wait for a model", value=len(pool.waiting))
    yield CounterMetricFamily("heron_model_swap_seconds", "Seconds that loading and unloading took", value=counts.swap_seconds)
    residents = list(pool.residents.values())
    memory = {one.entry.name: one.bytes for one in residents}
    leases = {one.entry.name: one.leases for one in residents}
    for name, text, values in (
        ("bytes", "Memory that a model holds", memory),
        ("leases", "HTTP requests that use a model", leases),
        ("requests_running", "Requests of a model that are being computed", {name: len(one.running) for name, one in now.items()}),
    ):
        yield _labelled(GaugeMetricFamily(f"heron_model_{name}", text, labels=("model",)), values)
    done = dict(counts.past)
    for model, snapshot in now.items():
        done[model] = done.get(model, Snapshot()).plus(snapshot)
    for name, text, values in (
        ("loads", "Times a model was loaded", counts.loads),
        ("load_failures", "Times a model could not be loaded", counts.failed),
        ("prompt_tokens", "Tokens of prompts, cached ones too", {model: one.statistics.prompt_tokens for model, one in done.items()}),
        ("generated_tokens", "Tokens generated", {model: one.statistics.generated_tokens for model, one in done.items()}),
    ):
        yield _labelled(CounterMetricFamily(f"heron_model_{name}", text, labels=("model",)), values)
    unloads = CounterMetricFamily("heron_model_unloads", "Times a model was unloaded, and why", labels=("model", "reason"))
    for key, number in counts.unloads.items():
        unloads.add_metric(key, number)
    yield unloads


Labelled = TypeVar("Labelled", GaugeMetricFamily, CounterMetricFamily)


def _labelled(family: Labelled, values: Mapping[str, float]) -> Labelled:
    for model, value in values.items():
        family.add_metric((model,), value)
    return family


def _families(now: Snapshot) -> Iterator[Metric]:
    total = now.statistics
    for name, text, value in (
        ("requests_waiting", "Requests that wait for a place", len(now.waiting)),
        ("requests_running", "Requests that are being computed", len(now.running)),
        ("kv_cache_usage_ratio", "The part of the cache that running requests hold", now.cache_usage),
        ("speculation_acceptance_ratio", "The part of the drafted tokens that were right", total.acceptance),
    ):
        yield GaugeMetricFamily(f"heron_{name}", text, value=value)
    for name, text, count in (
        ("prompt_tokens", "Tokens of prompts, cached ones too", total.prompt_tokens),
        ("prefix_cache_hit_tokens", "Tokens of prompts that the prefix cache held", total.cached_tokens),
        ("generated_tokens", "Tokens generated", total.generated_tokens),
        ("preemptions", "Times a request gave its place back because the cache was full", now.preemptions),
        ("drafted_tokens", "Tokens that speculation proposed", total.drafted_tokens),
        ("accepted_tokens", "Tokens that speculation proposed and the model confirmed", total.accepted_tokens),
    ):
        yield CounterMetricFamily(f"heron_{name}", text, value=count)
    units = GaugeMetricFamily("heron_kv_cache_units", "Blocks and slots of the cache, by group", labels=("group", "state"))
    for group, (used, all_of_them) in now.units.items():
        units.add_metric((group, "used"), used)
        units.add_metric((group, "total"), all_of_them)
    yield units
    ended = CounterMetricFamily("heron_requests_ended", "Requests by how they ended", labels=("reason",))
    for reason, number in total.ended.items():
        ended.add_metric((reason,), number)
    yield ended
    yield _histogram("heron_time_to_first_token_seconds", "From a request's arrival to its first token", total.first_token)
    yield _histogram("heron_time_between_tokens_seconds", "From one token of an answer to the next", total.between_tokens)


def _histogram(name: str, text: str, values: Distribution) -> HistogramMetricFamily:
    below, buckets = 0, []
    for bound, count in zip([*map(str, values.bounds), "+Inf"], values.counts, strict=True):
        below += count
        buckets.append((bound, below))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=values.total)
