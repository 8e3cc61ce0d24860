"""`heron serve`: models over HTTP."""

from __future__ import annotations

import gc
import logging
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from heron.cli.opening import open_model
from heron.cli.options import loading, with_options
from heron.config import DEFAULTS
from heron.engine.sampling import SamplingParams
from heron.engine.speculate import DRAFT_TOKENS
from heron.errors import RequestError
from heron.server.settings import Limits, Settings


@with_options(how=loading)
def serve(
    model: Annotated[
        list[str] | None,
        typer.Argument(help="GGUF files, folders with safetensors, or ORG/NAME; every model that is here if left out."),
    ] = None,
    *,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all of this machine, give keys too.")] = DEFAULTS["server.host"],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = DEFAULTS["server.port"],
    alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What clients call the model, NAME=MODEL where there are several; may be given again. Its file's name if left out.",
        ),
    ] = None,
    keep_alive: Annotated[
        str, typer.Option(metavar="TIME", help="How long a model stays that nobody asks, where there are several: 5m, 30s, forever, 0.")
    ] = DEFAULTS["server.keep_alive"],
    max_memory: Annotated[
        float, typer.Option(metavar="GIB", min=0, help="Memory that models may take together, caches too; 0: what there is.")
    ] = DEFAULTS["server.max_memory_gib"],
    max_models: Annotated[int, typer.Option(min=0, help="Models that are in memory at once; 0: as many as fit.")] = DEFAULTS[
        "server.max_models"
    ],
    max_seqs: Annotated[
        int, typer.Option("-np", "--parallel", "--max-seqs", min=1, help="Requests that are computed at once; others wait.")
    ] = DEFAULTS["inference.max_batch_size"],
    kv_cache_size: Annotated[
        int, typer.Option(min=0, help="Tokens that the KV cache holds, of all requests together; 0: whole contexts, as memory allows.")
    ] = 0,
    prefix_cache: Annotated[
        bool, typer.Option("--prefix-cache/--no-prefix-cache", help="Compute what prompts begin with in common once.")
    ] = True,
    temperature: Annotated[float, typer.Option("--temperature", "--temp", help="Where a request does not say.")] = DEFAULTS[
        "inference.temperature"
    ],
    top_p: Annotated[float, typer.Option(help="Where a request does not say.")] = DEFAULTS["inference.top_p"],
    max_tokens: Annotated[
        int, typer.Option("-n", "--max-tokens", min=-1, help="Where a request does not say; -1: what the context holds.")
    ] = DEFAULTS["inference.default_max_new_tokens"],
    speculate: Annotated[
        str | None, typer.Option(metavar="KIND", help="Guess tokens ahead: off, ngram (from the text) or draft. The answers stay the same.")
    ] = None,
    draft_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A small model of the same vocabulary that guesses; sets --speculate draft.")
    ] = None,
    draft_tokens: Annotated[int, typer.Option(help="Tokens guessed at a time, at most.")] = DRAFT_TOKENS,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Refuse a model whose answers could differ, in a bit, by what is computed beside them.")
    ] = False,
    how: dict[str, Any],
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            show_default=False,
            help="A key that clients must send; may be given again. Any user can see it in ps: better HERON_API_KEY or a file.",
        ),
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file with such keys, one a line.")] = None,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Let web pages of this origin ask (* is any); may be given again.")
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="The chat page at /, for browsers.")] = True,
    max_queue: Annotated[int, typer.Option(min=1, help="Requests that may wait; more get 429 with Retry-After.")] = DEFAULTS[
        "server.max_queue"
    ],
    request_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds from a request's arrival to its end, before it is given up; 0: as long as it takes.")
    ] = DEFAULTS["server.request_timeout_secs"],
    drain_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds that running requests have after SIGTERM or Ctrl-C; a second one stops at once.")
    ] = DEFAULTS["server.drain_timeout_secs"],
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option(help="plain or json: a line of text, or an object, for each thing that happens.")] = "plain",
) -> None:
    """Serve models over HTTP, to many at once, by the APIs that clients speak: OpenAI's and llama.cpp's.

    A page to chat on is at the address itself, for browsers.
    One model is loaded at once and stays: /health says 503 until it is there, then 200. Of several, or all that `heron list` shows and the
    pocket model, each is loaded when a request asks for it, and unloaded when others need its room or nobody asks any more.
    /metrics is for Prometheus, /docs for people. The log goes to stderr. docs/server.md describes all of it.

    \b
    heron serve                                all that are here, on port 11435
    heron serve model.gguf                     one
    heron serve a.gguf b.gguf --max-models 1   two, one of them in memory
    heron serve model.gguf --port 8080 -np 32  32 requests at once
    heron serve model.gguf --host 0.0.0.0 --api-key-file keys.txt
    curl localhost:11435/v1/models
    """
    from heron.backends.base import Options
    from heron.backends.choose import Where
    from heron.cli.serving import catalog_of
    from heron.engine.engine import Engine
    from heron.server import logs, running
    from heron.server.auth import all_keys
    from heron.server.banner import address, banner
    from heron.server.catalog import Entry
    from heron.server.keep_alive import seconds
    from heron.server.listening import listen
    from heron.server.pool import Pool
    from heron.server.room import Room, Sizes
    from heron.server.state import ServerState

    catalog = catalog_of(model or [], alias or [])
    one = catalog.otherwise is not None
    if not one and (draft_model or speculate == "draft"):
        raise RequestError("a draft model guesses for one model, and several are served; name one MODEL, or --speculate ngram")
    settings = Settings(
        host=host,
        port=port,
        api_keys=all_keys(api_key or [], api_key_file),
        cors=tuple(cors or ()),
        page=page,
        request_timeout=request_timeout or math.inf,
        drain_timeout=drain_timeout,
        limits=Limits(queue=max_queue),
        sampling=SamplingParams(temperature=temperature, top_p=top_p, max_tokens=None if max_tokens == -1 else max_tokens),
    )
    stays = seconds(keep_alive)
    logs.configure(log_level, log_format)
    sockets = listen(host, port)
    url = address(sockets)
    logger = logging.getLogger("heron.server")
    logs.event(logger, logging.INFO, "listening", address=url, models=len(catalog.entries))
    gc.enable()  # see main()

    def load(entry: Entry, sizes: Sizes) -> Engine:
        logs.event(logger, logging.INFO, "loading the model", model=entry.name, path=str(entry.path))
        sized = {**how, "say": logger.warning, "ctx_size": sizes.ctx_size}
        loaded = open_model(str(entry.path), **sized)
        if sizes.ctx_size != how["ctx_size"]:
            own = loaded.graph_model.context_length
            logger.warning("the context is reduced from %d to %d tokens, to fit in memory", own, loaded.context_length)
        guessing = open_model(draft_model, **{**sized, "gpu_layers": None}) if draft_model else None
        try:
            engine = Engine(
                loaded,
                speculate=speculate,
                draft_model=guessing,
                draft_tokens=draft_tokens,
                deterministic=deterministic,
                max_seqs=max_seqs,
                kv_cache_size=sizes.kv_cache_size,
                prefix_cache=prefix_cache,
                max_queue=max_queue,
                request_timeout=settings.request_timeout,
            )
        except BaseException:
            loaded.close()
            raise
        engine.start()
        return engine

    def ready() -> None:
        logs.event(logger, logging.INFO, "ready", address=url, models=len(catalog.entries))
        if log_format == "plain":
            print(banner(state, url), flush=True)

    options = Options(**{name: how[name] for name in Options.__dataclass_fields__ if name in how})
    where = Where(*(how[name] for name in ("backend", "device", "gpu", "gpu_layers", "cuda_device_id")))
    room = Room(max_models, int(max_memory * 2**30), max_seqs, Sizes(how["ctx_size"], kv_cache_size), where, options)
    state = ServerState(settings, Pool(catalog, load, room, keep_alive=stays, queue=max_queue))
    running.serve(state, sockets, ready)
