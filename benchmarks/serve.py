"""A load on any server that speaks OpenAI's API: tokens a second, time to the first token, time between tokens, errors.

    python benchmarks/serve.py http://127.0.0.1:11435 --clients 1,8,32              # clients that ask one thing after another
    python benchmarks/serve.py http://127.0.0.1:11435 --rate 2,4,8 --requests 200   # requests that arrive at random
    python benchmarks/serve.py --engine MODEL --peer-python PYTHON --rounds 3       # Heron with HTTP, without, and llama.cpp
    python benchmarks/serve.py http://127.0.0.1:11435 --prefix 1000 --prompt 16 --clients 16 --first-alone

``--engine MODEL`` puts the same load on heron.Engine without HTTP, in turns; without an address it starts a ``heron serve`` of its
own beside it. ``--peer-python``, the interpreter of an environment with llama-cpp-python, lets llama.cpp compute the same prompts and
answers in its batched steps. Each round has prompts of its own, made from ``--seed``; figures of tokens a second are the rounds'
median with the least and the most, ratios are taken within a round, times are percentiles (p50 / p90 / p99) over all rounds.

Prompts are token ids; with ``--chat`` they are conversations of about as many words. Answers have ``--output`` tokens where the
server knows ``ignore_eos``. Time to the first token is that of the first event with text, on the client's clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from load import Load, Round, Target, summary
from plot import Panel, svg
from rich.console import Console
from rich.progress import Progress
from targets import Direct, Http, Peer, serving
from turns import markdown, shown

#: Of the plot: title -> what a summary calls it.
PANELS = {
    "output tokens a second": "tokens_per_second",
    "to the first token, ms, p50 to p99": "first_token_ms",
    "between tokens, ms, p50 to p99": "between_tokens_ms",
}

COLUMNS = ("load", "", "output tok/s", "of the engine's", "first token, ms", "between tokens, ms", "prompt cached", "errors")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="the server's address, with or without /v1")
    parser.add_argument("--engine", metavar="MODEL")
    parser.add_argument("--peer-python", metavar="PYTHON")
    parser.add_argument("--clients", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--rate", type=lambda text: [float(part) for part in text.split(",")], help="requests a second, instead of clients")
    parser.add_argument("--requests", type=int, default=0, help="of each round; 4 for each client if left out, or 64")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--output", type=int, default=32, help="tokens of an answer")
    parser.add_argument("--prefix", type=int, default=0, help="tokens that come before all prompts of a round")
    parser.add_argument("--first-alone", action="store_true", help="the others come when the first has its first token")
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="of --engine, the server beside it and the peer")
    parser.add_argument("--model", default="default", help="the field of that name, for servers that heed it")
    parser.add_argument("--api-key")
    parser.add_argument("--extra", type=json.loads, default={"ignore_eos": True}, help="more parameters of each request, as JSON")
    parser.add_argument("--json", metavar="FILE", help="write all figures there; - for the output, instead of the table")
    parser.add_argument("--plot", metavar="FILE", help="write an SVG image there")
    options = parser.parse_args()
    if not (options.url or options.engine):
        parser.error("give a server's address, or --engine MODEL")
    if options.peer_python and (options.rate or not options.engine):
        parser.error("--peer-python goes with --engine MODEL and --clients")
    return options


def loads(options: argparse.Namespace) -> list[Load]:
    alike = {name: getattr(options, name) for name in ("prompt", "output", "prefix", "first_alone", "chat")}
    if options.rate:
        return [Load(0, rate, options.requests or 64, **alike) for rate in options.rate]
    return [Load(clients, 0.0, options.requests or 4 * clients, **alike) for clients in options.clients]


def targets(options: argparse.Namespace, stack: ExitStack) -> list[Target]:
    context = options.prefix + 2 * options.prompt + options.output + 64  # words may be more tokens than one
    sequences = max(options.clients) if not options.rate else 32
    room = (options.threads, context, sequences)
    url = options.url or stack.enter_context(serving(options.engine, *room))
    found: list[Target] = [Http(url, options.model, options.api_key, options.extra)]
    if options.engine:
        found.append(Direct(options.engine, *room))
    if options.peer_python:
        found.append(Peer(options.peer_python, options.engine, *room))
    for target in found:
        stack.callback(target.close)
    return found


def measure(options: argparse.Namespace, found: list[Target], load: Load, progress: Progress) -> dict[str, list[Round]]:
    """The rounds of each target, which take turns; a small one before them is not counted."""
    rounds: dict[str, list[Round]] = {target.name: [] for target in found}
    task = progress.add_task(load.label, total=options.rounds * len(found) * load.requests)
    for target in found:
        target.run(Load(min(load.clients, 2), load.rate, 2, 16, 4, chat=load.chat), options.seed + options.rounds, lambda: None)
    for number in range(options.rounds):
        for target in found:
            rounds[target.name].append(target.run(load, options.seed + number, lambda: progress.advance(task)))
    return rounds


def row(load: Load, name: str, figures: dict[str, Any]) -> str:
    cached = f"{figures['cached_tokens'] / figures['prompt_tokens']:.0%}" if figures["prompt_tokens"] else "-"
    first = _times(figures["later_first_token_ms" if load.prefix else "first_token_ms"])
    if load.prefix:
        first += f"; of the first {shown(figures['very_first_token_ms'], 0)}"
    errors = ", ".join(f"{count} of status {status}" for status, count in figures["errors"].items()) or "0"
    speed, ratio = shown(figures["tokens_per_second"], 1), shown(figures["ratio"], 3)
    return markdown(load.label, name, speed, ratio, first, _times(figures["between_tokens_ms"]), cached, errors)


def _times(percentiles: dict[str, float]) -> str:
    return " / ".join(f"{value:.1f}" if value < 100 else f"{value:.0f}" for value in percentiles.values()) or "-"


def panels(rows: list[dict[str, Any]]) -> list[Panel]:
    points = list(dict.fromkeys(one["load"] for one in rows))
    names = list(dict.fromkeys(one["target"] for one in rows))
    found = []
    for title, key in PANELS.items():
        panel = Panel(title, points)
        for name in names:
            of = {one["load"]: one for one in rows if one["target"] == name}
            spans = [_span(of[point], key) if point in of else None for point in points]
            panel.lines[name] = [span[0] if span else None for span in spans]
            panel.bands[name] = [(span[1], span[2]) if span else None for span in spans]
        found.append(panel)
    return found


def _span(figures: dict[str, Any], key: str) -> tuple[float, float, float] | None:
    """The middle, the lowest and the highest."""
    values = figures[key]
    if isinstance(values, list):
        return statistics.median(values), min(values), max(values)
    return (values["p50"], values["p50"], values["p99"]) if values else None


def main() -> None:
    options, console = parsed(), Console(stderr=True)
    table = sys.stderr if options.json == "-" else sys.stdout
    rows: list[dict[str, Any]] = []
    print(f"load average before: {os.getloadavg()[0]:.1f}\n", file=table)
    print(markdown(*COLUMNS), markdown(*["---"] * len(COLUMNS)), sep="\n", file=table, flush=True)
    with ExitStack() as stack:
        with console.status("loading"):
            found = targets(options, stack)
        for load in loads(options):
            with Progress(console=console, transient=True) as progress:
                rounds = measure(options, found, load, progress)
            for name, those in rounds.items():
                pairs = zip(those, rounds.get(Direct.name, []), strict=False)
                figures = summary(those) | {"ratio": [ours.speed / engine.speed for ours, engine in pairs]}
                rows.append({"load": load.label, "target": name} | figures)
                print(row(load, name, figures), file=table, flush=True)
    print(f"\nload average after: {os.getloadavg()[0]:.1f}", file=table)
    text = json.dumps({"options": vars(options), "rows": rows}, indent=1)
    if options.json == "-":
        print(text)
    elif options.json:
        Path(options.json).write_text(text + "\n")
    if options.plot:
        Path(options.plot).write_text(svg(panels(rows)))


if __name__ == "__main__":
    main()
