"""`heron perplexity`: how well a model predicts a text, and how far it is from a reference."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from heron.cli.info import printable
from heron.cli.opening import open_model
from heron.cli.options import KVDtype, Threads, placing, with_options
from heron.cli.reading import read_corpus, reading_bar
from heron.evaluate.perplexity import Measured, measure
from heron.evaluate.windows import WINDOW, windows


@with_options(where=placing)
def perplexity(
    model: Annotated[str, typer.Argument(help="A GGUF file, a folder with safetensors, or ORG/NAME.")],
    text: Annotated[list[Path], typer.Argument(help="Files of UTF-8 text.")],
    *,
    kl_base: Annotated[str | None, typer.Option(help="A reference (the unquantized model, say) to compare every prediction with.")] = None,
    ctx_size: Annotated[int, typer.Option("-c", "--ctx-size", help="Tokens of a window; its second half is predicted.")] = WINDOW,
    chunks: Annotated[int | None, typer.Option(help="Read so many windows at most.")] = None,
    threads: Threads = None,
    kv_dtype: KVDtype = "f16",
    activations: Annotated[str, typer.Option(help="In products with quantized weights: int8, or f32 (exact, slower).")] = "int8",
    where: dict[str, Any],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how well a model predicts texts, so that a quantization can be chosen by what it loses.

    The text is cut into windows, and the second half of each is predicted, every token from all before it. With --kl-base the same is
    asked of a reference, and the two distributions are compared token by token: a divergence of 0 and an agreement of 100% mean that
    nothing was lost. It says far more than perplexity, which may fall by chance.

    \b
    heron perplexity model-Q4_K_M.gguf wiki.test.txt
    heron perplexity model-Q4_K_M.gguf wiki.test.txt --kl-base model-F16.gguf
    heron perplexity model.gguf text.txt --chunks 20 --json
    """
    corpus = read_corpus(text)
    options = {**where, "threads": threads, "ctx_size": ctx_size, "kv_dtype": kv_dtype, "activations": activations}
    loaded = open_model(model, **options)
    base = None
    try:
        base = None if kl_base is None else open_model(kl_base, **options)
        parts, measured = windows(loaded, corpus, ctx_size, chunks), Measured()
        with reading_bar("windows") as bar:
            task = bar.add_task("reading", total=len(parts), said="")
            for measured in measure(loaded, parts, base):
                bar.update(task, advance=1, said=f"perplexity {measured.likelihood.perplexity:.4f}")
        found = facts(measured) | {"model": model, "reference": kl_base, "windows": len(parts), "window": len(parts[0].tokens)}
    finally:
        loaded.close()
        if base is not None:
            base.close()
    if json:
        print(dumps(found, indent=2))
    else:
        _show(found)


def facts(measured: Measured) -> dict[str, Any]:
    """All that was measured, as JSON has it; probabilities and shares of 1, divergences in nats."""
    own, away = measured.likelihood, measured.divergence
    found: dict[str, Any] = {"tokens": own.tokens, "nats": own.mean, "perplexity": own.perplexity, "perplexity_error": own.error}
    if away is not None:
        found |= {
            "reference_perplexity": measured.base.perplexity,
            "kl": away.mean,
            "kl_error": away.error,
            "kl_median": away.quantile(0.5),
            "kl_99": away.quantile(0.99),
            "kl_max": away.quantile(1.0),
            "top_agreement": away.top_agreement,
            "rms_shift": away.rms_shift,
        }
    return found


def _show(found: dict[str, Any]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_row("text", f"{found['tokens']} tokens predicted, in {found['windows']} windows of {found['window']}")
    table.add_row("perplexity", f"{found['perplexity']:.4f} +- {found['perplexity_error']:.4f}")
    if "kl" in found:
        table.add_row("of the reference", f"{found['reference_perplexity']:.4f}")
        table.add_row("divergence (KL)", f"{found['kl']:.6f} +- {found['kl_error']:.6f} nats a token")
        table.add_row("", f"median {found['kl_median']:.6f}, 99% {found['kl_99']:.6f}, largest {found['kl_max']:.6f}")
        table.add_row("same likeliest token", f"{100 * found['top_agreement']:.2f}%")
        table.add_row("shift of p", f"{100 * found['rms_shift']:.3f}% (root mean square)")
    console = Console(highlight=False)
    console.print(printable(str(found["model"])), markup=False)
    console.print(table)
