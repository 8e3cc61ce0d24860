"""`heron chat`: talk with a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from heron.cli.options import loading, sampling, with_options
from heron.cli.settings import said
from heron.cli.talking import talk
from heron.engine.sampling import SamplingParams


@with_options(params=sampling, where=loading)
def chat(
    ctx: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="A GGUF file, a folder with safetensors, or ORG/NAME; the pocket model if left out.")
    ] = None,
    *,
    system: Annotated[str | None, typer.Option(help="The system message: how to answer.")] = None,
    load: Annotated[Path | None, typer.Option("--load", metavar="FILE", help="Go on with a conversation that /save has written.")] = None,
    hide_reasoning: Annotated[bool, typer.Option("--hide-reasoning", help="Show answers without what the model thinks before.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown/--no-markdown", help="Show answers as Markdown means them, or as they are.")] = True,
    stats: Annotated[bool, typer.Option("--stats", help="Show times and speeds after each answer.")] = False,
    params: SamplingParams,
    where: dict[str, Any],
) -> None:
    """Talk with a model.

    Type a question; /help lists commands, such as /model, /save and /regenerate. Ctrl-C stops an answer, Ctrl-D leaves.
    An answer may be as long as the context holds, unless -n or a setting says otherwise.
    Without a terminal each line of the input is a question, and answers alone are printed.

    \b
    heron chat                                  with the model that Heron ships
    heron chat qwen3:0.6b                       with one of the hub, pulled first
    heron chat model.gguf --system "Be brief."  with a file, told how to answer
    heron chat model.gguf --load talk.json      where a saved talk ended
    heron chat model.gguf < questions.txt > answers.txt
    """
    if not said(ctx, "max_tokens", "inference.default_max_new_tokens"):
        params = params.changed(max_tokens=None)
    talk(model, params, where, system=system, stats=stats, markdown=markdown, hide_reasoning=hide_reasoning, saved=load)
