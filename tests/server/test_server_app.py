"""The application as a whole: models, ids, CORS, the gate, and its OpenAPI document."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from http_serving import Served, pool_of, serving

from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.server.app import create_app
from heron.server.settings import Settings
from heron.server.state import ServerState


def test_models_by_each_name(served: Served, model: Model) -> None:
    listed = served.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [found["id"] for found in listed["data"]] == ["pocket", "other"]
    one = served.get("/v1/models/pocket").json()
    assert one == listed["data"][0]
    assert (one["object"], one["owned_by"], type(one["created"])) == ("model", "heron", int)
    context = model.context_length
    assert (one["max_model_len"], one["context_length"], one["meta"]["n_ctx"]) == (context, context, context)
    assert one["meta"]["n_vocab"] == model.graph_model.vocab_size


def test_the_context_is_what_a_request_may_have(another: Model) -> None:
    with serving(Engine(another, kv_cache_size=256)) as served:
        assert served.get("/v1/models/pocket").json()["max_model_len"] == 256


def test_a_model_that_there_is_not(served: Served) -> None:
    refused = served.get("/v1/models/some/model")
    assert refused.status_code == 404
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "'some/model'" in error["message"]
    assert "'pocket'" in error["message"]


@pytest.mark.parametrize(("given", "kept"), [("abc-1:2/3", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("", False)])
def test_a_request_keeps_its_id_or_gets_one(served: Served, given: str, kept: bool) -> None:
    answer = served.get("/health", headers={"x-request-id": given}).headers["x-request-id"]
    assert (answer == given) is kept
    assert answer.startswith("req-") is not kept


def test_pages_of_other_origins_may_not_ask_unless_told(served: Served, another: Model) -> None:
    preflight = {
        "origin": "https://chat.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    assert served.get("/v1/models", headers=preflight).headers.get("access-control-allow-origin") is None
    with serving(Engine(another), Settings(cors=("https://chat.example",), api_keys=("k",))) as open_to_one:
        asked = httpx.options(f"{open_to_one.url}/v1/models", headers=preflight)  # a browser sends no key with it
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "https://chat.example"
        assert httpx.options(f"{open_to_one.url}/v1/models", headers=preflight | {"origin": "https://evil.example"}).status_code == 400
        refused = open_to_one.get("/v1/models", headers={"origin": "https://chat.example"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://chat.example"  # so that the page can read why
        assert "x-request-id" in refused.headers["access-control-expose-headers"].lower()
        failed = open_to_one.get("/test/fault", headers={"origin": "https://chat.example", "x-api-key": "k"})
        assert (failed.status_code, failed.headers["access-control-allow-origin"]) == (500, "https://chat.example")


def test_nothing_begins_before_the_model_is_there() -> None:
    with serving(None) as served:
        assert served.get("/health").json()["error"]["code"] == "loading"
        for path in ("/v1/models", "/nowhere"):
            refused = served.get(path)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert served.get("/openapi.json").status_code == 200
        assert "heron_ready 0.0" in served.get("/metrics").text


def test_nothing_begins_when_the_server_is_to_stop(another: Model) -> None:
    with serving(Engine(another), Settings(drain_timeout=5)) as served:
        served.state.active += 1  # a request runs, for which the server waits
        served.state.draining = True
        refused = served.get("/v1/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert refused.headers["connection"] == "close"
        served.state.active -= 1


def document() -> dict[str, Any]:
    return create_app(ServerState(Settings(), pool_of(None))).openapi()


def test_the_document_says_what_errors_are() -> None:
    schema = document()
    operations = [(path, how) for path, methods in schema["paths"].items() for how in methods.values()]
    assert len(operations) > 3
    for path, operation in operations:
        assert "422" not in operation["responses"], path
        for status in ("400", "401", "413", "429", "500", "503"):
            shape = operation["responses"][status]["content"]["application/json"]["schema"]
            assert shape == {"$ref": "#/components/schemas/ErrorBody"}, (path, status)
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    assert create_app(ServerState(Settings(), pool_of(None))).openapi() == schema


def test_every_route_is_described() -> None:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), (method, path)
            assert operation.get("description"), (method, path)
