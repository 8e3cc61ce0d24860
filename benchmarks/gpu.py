"""Heron beside transformers and beside the card's own limits, on random weights of real shapes, in alternating runs.

    python benchmarks/gpu.py [--device cuda] [--shapes llama-3.1-8b,qwen3-0.6b] [--formats BF16,Q8_0,Q4_K_M,E4M3_128] [--json FILE]

Each round measures the card (bytes that a copy reads and writes, bf16 multiply-adds of a large product), then Heron, then
transformers: compiled, with a static cache, always in bf16; ``--alone`` leaves it out. Ratios are of the same round; figures are medians,
with the least and the most. Nothing is read from files: weights are made as they are moved to the device.

    prefill N   a prompt of N tokens, up to the token after it
    decode B    B sequences after --context tokens each (1 after 128), all a token further at each step, tokens sampled on the device
    trace       the kernels of decode 1: how long the device waited between them

"Of the limit" is the least time that the step can take, by the time it took: to read all weights, keys and values at the rate of
the copy, or to multiply at the rate of the large product. "Target" is what is aimed at on a data-centre GPU: of the limit, and
beside transformers. ``--tiny --device cpu`` runs everything on a small model: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from gpu_engines import Engine, Heron, Transformers
from gpu_work import Limits, Trace, profile
from make_model import SHAPES, Shape

from heron.errors import HeronError

#: (shape, format, what) -> part of the limit that is aimed at, and ratio to transformers.
TARGETS: dict[tuple[str, str, str], tuple[float, float | None]] = {
    ("llama-3.1-8b", "BF16", "decode 1"): (0.85, 2.0),
    ("llama-3.1-8b", "Q8_0", "decode 1"): (0.75, None),
    ("llama-3.1-8b", "Q4_K_M", "decode 1"): (0.60, None),
    ("llama-3.1-8b", "BF16", "prefill 4096"): (0.70, None),
    ("llama-3.1-8b", "BF16", "decode 256"): (0.60, None),
}

TINY = Shape("llama", 2, 256, 512, 4, 2, 64, 1024, 10000.0, False)


@dataclass
class Row:
    """Tokens a second of both engines, once a round, and Heron's part of the limit."""

    shape: str
    format: str
    what: str
    heron: list[float] = field(default_factory=list)
    transformers: list[float] = field(default_factory=list)
    of_limit: list[float] = field(default_factory=list)
    failed: str = ""

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.heron, self.transformers, strict=False)]

    def facts(self) -> dict[str, Any]:
        limit, ratio = TARGETS.get((self.shape, self.format, self.what), (None, None))
        facts = asdict(self) | {"ratios": self.ratios, "target": {"of_limit": limit, "ratio": ratio}}
        reached = {"of_limit": median(self.of_limit) / limit} if limit and self.of_limit else {}
        return facts | {"of_target": reached | ({"ratio": median(self.ratios) / ratio} if ratio and self.ratios else {})}

    def cells(self) -> list[str]:
        limit, ratio = TARGETS.get((self.shape, self.format, self.what), (None, None))
        target = "-" if limit is None else f">= {limit:.2f}" + (f", {ratio:g}x" if ratio else "")
        figures = [shown(self.heron, 1), shown(self.transformers, 1), shown(self.ratios, 2), shown(self.of_limit, 2)]
        return [self.shape, self.format, self.what, *(figures if not self.failed else [self.failed, "-", "-", "-"]), target]


def shown(values: list[float], digits: int) -> str:
    if not values:
        return "-"
    least = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{median(values):.{digits}f}{least}"


class Bench:
    """One shape. ``peer`` is there while all its formats are measured."""

    def __init__(self, name: str, shape: Shape, options: argparse.Namespace) -> None:
        self.name, self.shape, self.options = name, shape, options
        self.limits: list[Limits] = []
        self.peer: Transformers | None = None
        if not options.alone:
            how = {"fullgraph": True} | ({"backend": "eager"} if options.tiny else {"mode": "reduce-overhead"})
            try:
                self.peer = Transformers(shape, options.device, how)
            except ImportError as error:
                print(f"{name}: without transformers: {error}", file=sys.stderr)

    def rows(self, format: str) -> Iterator[Row | Trace]:
        try:
            heron = Heron(self.shape, format, self.options.device, self.options.backend)
        except (HeronError, KeyError) as error:
            yield Row(self.name, format, "all", failed=str(error))
            return
        try:
            for tokens in self.options.prefill:
                yield self._prefill(heron, format, tokens)
            for batch in self.options.batches:
                yield self._decode(heron, format, batch)
            try:
                yield self._trace(heron)
            except ValueError as error:
                print(f"{self.name} {format}: no trace: {error}", file=sys.stderr)
        finally:
            heron.close()
            del heron
            if torch.device(self.options.device).type == "cuda":
                torch.cuda.empty_cache()

    def _able(self, row: Row, heron: Heron, begin: Callable[[Engine], object]) -> list[Engine]:
        """Those who can: ``begin`` is what is not timed. Why Heron cannot stands in the row, why the other cannot is said."""
        able: list[Engine] = []
        for engine in [heron, *([self.peer] if self.peer else [])]:
            try:
                begin(engine)
                able.append(engine)
            except Exception as error:  # out of memory, or a kernel that does not compile: there are other rows
                engine.__exit__()
                reason = (str(error).strip().splitlines() or [repr(error)])[0]
                if engine is heron:
                    row.failed = reason
                    return []
                print(f"{row.shape} {row.format}, {row.what}: {engine.name} cannot: {reason}", file=sys.stderr)
        return able

    def _limits(self) -> Limits:
        self.limits.append(Limits.measured(self.options.device, self.options.tiny))
        return self.limits[-1]

    def _prefill(self, heron: Heron, format: str, tokens: int) -> Row:
        row = Row(self.name, format, f"prefill {tokens}")
        if engines := self._able(row, heron, lambda engine: engine.prefill(tokens)):
            for _ in range(self.options.rounds):
                limits = self._limits()
                for engine in engines:
                    getattr(row, engine.name).append(tokens / engine.prefill(tokens))
                row.of_limit.append(row.heron[-1] / tokens * heron.work.prefill(tokens, limits))
        return row

    def _decode(self, heron: Heron, format: str, batch: int) -> Row:
        row, steps, warm = Row(self.name, format, f"decode {batch}"), self.options.steps, 8
        context = self._context(batch)
        with ExitStack() as stack:

            def begin(engine: Engine) -> None:
                stack.enter_context(engine.room(batch, context, self.options.rounds * steps + warm))
                engine.decode(warm)

            if engines := self._able(row, heron, begin):
                for done in range(self.options.rounds):
                    limits = self._limits()
                    for engine in engines:
                        getattr(row, engine.name).append(batch * steps / engine.decode(steps))
                    least = heron.work.decode(batch, context + warm + (done + 0.5) * steps, limits)
                    row.of_limit.append(row.heron[-1] / batch * least)
        return row

    def _context(self, batch: int) -> int:
        return min(128, self.options.context) if batch == 1 else self.options.context

    def _trace(self, heron: Heron, steps: int = 16) -> Trace:
        with heron.room(1, self._context(1), 2 * steps):
            heron.decode(steps)
            return profile(lambda: heron.decode(steps), steps, self.options.device)


def names(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def parsed(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backend", default="torch", choices=["torch", "native", "reference"])
    parser.add_argument("--shapes", type=names, default=["llama-3.1-8b", "qwen3-0.6b"])
    parser.add_argument("--formats", type=names, default=["BF16", "Q8_0", "Q4_K_M", "E4M3_128"])
    parser.add_argument("--batches", type=numbers, default=[1, 16, 64, 256])
    parser.add_argument("--prefill", type=numbers, default=[512, 4096])
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=64, help="decoded in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without transformers")
    parser.add_argument("--tiny", action="store_true", help="a small model: whether all of it runs")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(args)
    if options.tiny:
        options.shapes = ["tiny"]
    return options


def main() -> None:
    options = parsed()
    shapes, rows = SHAPES | {"tiny": TINY}, list[Row]()
    cuda = torch.device(options.device).type == "cuda"
    card = torch.cuda.get_device_name(options.device) if cuda else options.device
    print(f"{card}, torch {torch.__version__}{', figures mean nothing' if options.tiny else ''}\n")
    header = ["shape", "format", "", "Heron tok/s", "transformers tok/s", "ratio", "of the limit", "target"]
    print("|", " | ".join(header), "|", flush=True)
    print("|", " | ".join(["---"] * len(header)), "|", flush=True)
    traces: list[tuple[str, str, Trace]] = []
    limits: list[Limits] = []
    for name in options.shapes:
        bench = Bench(name, shapes[name], options)
        for format in options.formats:
            for row in bench.rows(format):
                if isinstance(row, Trace):
                    traces.append((name, format, row))
                else:
                    rows.append(row)
                    print("|", " | ".join(row.cells()), "|", flush=True)
            if options.json:  # all of it so far: a run may be cut short
                Path(options.json).write_text(json.dumps(facts(card, rows, [*limits, *bench.limits], traces), indent=1))
        limits += bench.limits
        del bench
    if limits:
        copy, matrix = shown([each.copy / 1e9 for each in limits], 0), shown([each.matrix * 2 / 1e12 for each in limits], 1)
        print(f"\nThe card copies {copy} GB/s (read and written) and does {matrix} T operations/s in bf16.")
    for name, format, trace in traces:
        waits = f"it waited {trace.waited * 1e6:.0f} us a step, {trace.longest * 1e6:.0f} us at most"
        print(
            f"\n{name} {format}, decode 1: {trace.kernels:.0f} kernels a step, the device computed {trace.hidden:.1%} of the time; {waits}."
        )
        print("\n".join(f"  {taken * 1e6:9.1f} us  {kernel[:100]}" for kernel, taken in trace.most))


def facts(card: str, rows: list[Row], limits: list[Limits], traces: list[tuple[str, str, Trace]]) -> dict[str, Any]:
    """All figures."""
    kept = [{"shape": name, "format": format, "hidden": trace.hidden, **asdict(trace)} for name, format, trace in traces]
    figures: dict[str, Any] = {"limits": [asdict(each) for each in limits], "rows": [row.facts() for row in rows], "traces": kept}
    return {"card": card, "torch": torch.__version__} | figures


if __name__ == "__main__":
    main()
