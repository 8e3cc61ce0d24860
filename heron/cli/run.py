"""`heron run`: a prompt in, text out as it is generated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from heron.cli.answering import answer
from heron.cli.opening import open_model
from heron.cli.options import loading, sampling, with_options
from heron.cli.prompt import constraint_of, note, read_prompt
from heron.cli.settings import given, said
from heron.cli.stats import report
from heron.engine.sampling import SamplingParams


@with_options(params=sampling, where=loading)
def run(
    ctx: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="A GGUF file, a folder with safetensors, or ORG/NAME; the pocket model if left out.")
    ] = None,
    *,
    prompt: Annotated[str | None, typer.Option("-p", "--prompt", help="The prompt.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="Read the prompt from a file.")] = None,
    params: SamplingParams,
    json_schema: Annotated[str | None, typer.Option(metavar="JSON|FILE", help="Answer in JSON that is valid by this schema.")] = None,
    grammar: Annotated[Path | None, typer.Option(metavar="FILE", help="Answer in the language of this grammar, GBNF or Lark.")] = None,
    regex: Annotated[str | None, typer.Option(help="Answer what this expression matches from beginning to end.")] = None,
    where: dict[str, Any],
    system: Annotated[str | None, typer.Option(help="The system message.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the prompt as it is, without a chat template.")] = False,
    hide_reasoning: Annotated[bool, typer.Option("--hide-reasoning", help="Show the answer without what the model thinks before.")] = False,
    interactive: Annotated[bool, typer.Option("-i", "--interactive", help="Talk in turns, as heron chat does.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print times, speeds and memory at the end.")] = False,
) -> None:
    """Answer a prompt, or talk, with a model.

    The answer goes to stdout, everything else to stderr; what a model thinks before it answers is dim, and shown in a terminal alone.
    Ctrl-C ends an answer, with status 130. Without a prompt it is heron chat.

    \b
    heron run                                      talk with the pocket model
    heron run -p "What can you do?"                ask it one thing
    heron run qwen3:0.6b -p "A haiku" -n 100       another one, at most 100 tokens
    heron run model.gguf -p "Sum up:" < a.txt      a prompt, then what is piped in
    heron run model.gguf -f ask.txt > answer.txt   the answer alone is kept
    heron run model.gguf -p "Who?" --json-schema person.json
    heron run base.gguf --raw -t 0 -p "Once upon"  go on with a text
    """
    params = params.changed(constraint=constraint_of(json_schema, grammar, regex))
    text = read_prompt(prompt, file, interactive)
    if interactive or text is None:
        if not said(ctx, "max_tokens", "inference.default_max_new_tokens"):
            params = params.changed(max_tokens=None)
        from heron.cli.talking import talk

        talk(model, params, where, system=system, raw=raw, first=text, stats=stats, hide_reasoning=hide_reasoning)
        return
    loaded = open_model(model, **where)
    try:
        loaded.must_generate()
        answer(loaded, text, params, system, raw, note, given(ctx, "max_tokens"), hide_reasoning)
    finally:
        if stats:
            report(loaded)
        loaded.close()
