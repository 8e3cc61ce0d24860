"""`heron info`: what a model file or folder holds, without loading the model."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heron.checkpoint.checkpoint import Checkpoint, locate
from heron.checkpoint.json_file import read_object
from heron.checkpoint.metadata import Metadata
from heron.cli import opening


def info(
    model: Annotated[str, typer.Argument(help="A GGUF file, a folder with config.json and safetensors, or ORG/NAME.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a model's architecture, size, formats, context, tokenizer and chat template, without loading it.

    \b
    heron info model.gguf
    heron info ./folder --tensors                list every tensor
    heron info model.gguf --json | jq .context_length
    """
    path = opening.locate(model)
    if locate(path).is_dir():
        from heron.models.registry import load_families

        load_families()
    with Checkpoint(path) as checkpoint:
        facts = summarize(checkpoint, tensors)
    if json:
        print(dumps(facts, indent=2))
    else:
        _show(facts)


def summarize(checkpoint: Checkpoint, tensors: bool = False) -> dict[str, Any]:
    """All that `heron info` knows of a checkpoint, as JSON has it. Sizes are in bytes."""
    metadata = checkpoint.metadata
    facts: dict[str, Any] = {
        "path": str(checkpoint.path),
        "source": checkpoint.source,
        "architecture": checkpoint.architecture,
        "name": metadata.text("general.name", None),
        "parameters": sum(t.size for t in checkpoint.tensors.values()),
        "files": len(checkpoint.files),
        "bytes": sum(file.stat().st_size for file in checkpoint.files),
        "context_length": metadata.integer(f"{checkpoint.architecture}.context_length", None),
        "tokenizer": _tokenizer_of_folder(locate(checkpoint.path)) if checkpoint.source == "hf" else _tokenizer_of_gguf(metadata),
        "chat_template": _template_of_folder(locate(checkpoint.path)) if checkpoint.source == "hf" else _template_of_gguf(metadata),
        "quantization": checkpoint.quantization or None,
        "formats": _formats(checkpoint),
        "metadata": {key: _plain(value) for key, value in metadata.items() if isinstance(value, (str, int, float))},
    }
    if tensors:
        facts["tensors"] = [
            {"name": name, "shape": list(t.shape), "format": t.format.name, "bytes": t.nbytes} for name, t in checkpoint.tensors.items()
        ]
    return facts


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinities."""
    return None if isinstance(value, float) and not isfinite(value) else value


def _formats(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Tensors, parameters and bytes of each format, the largest first."""
    sums: dict[str, dict[str, Any]] = {}
    for tensor in checkpoint.tensors.values():
        entry = sums.setdefault(tensor.format.name, {"format": tensor.format.name, "tensors": 0, "parameters": 0, "bytes": 0})
        entry["tensors"] += 1
        entry["parameters"] += tensor.size
        entry["bytes"] += tensor.nbytes
    return sorted(sums.values(), key=lambda entry: -entry["bytes"])


def _tokenizer_of_gguf(metadata: Metadata) -> dict[str, Any] | None:
    kind = metadata.text("tokenizer.ggml.model", None)
    tokens = metadata.strings("tokenizer.ggml.tokens", None)
    if kind is None:
        return None
    return {"kind": kind, "pre": metadata.text("tokenizer.ggml.pre", None), "size": None if tokens is None else len(tokens)}


def _template_of_gguf(metadata: Metadata) -> str | None:
    return metadata.text("tokenizer.chat_template", None)


def _tokenizer_of_folder(folder: Path) -> dict[str, Any] | None:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return {"kind": "sentencepiece", "pre": None, "size": None} if (folder / "tokenizer.model").is_file() else None
    tokenizer = Metadata(read_object(path), where=str(path))
    model = tokenizer.table("model")
    # WordPiece and BPE have {token: id}, Unigram a list of [token, score]; added tokens may be among them.
    tokens = [entry[0] if isinstance(entry, list) and entry else entry for entry in model.get("vocab") or ()]
    tokens += [entry.get("content") for entry in tokenizer.get("added_tokens") or () if isinstance(entry, dict)]
    return {"kind": model.text("type", "BPE"), "pre": None, "size": len({t for t in tokens if isinstance(t, str)})}


def _template_of_folder(folder: Path) -> str | None:
    """chat_template.jinja, or the template in tokenizer_config.json: one, or the default of several."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    path = folder / "tokenizer_config.json"
    template = read_object(path).get("chat_template") if path.is_file() else None
    if isinstance(template, list):
        template = next((t.get("template") for t in template if isinstance(t, dict) and t.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def _show(facts: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for label, value in _lines(facts):
        table.add_row(Text(label, style="bold"), Text(printable(value)))
    console.print(table)
    if facts["formats"]:
        console.print(_table(("format", "tensors", "parameters", "size", "bits per weight"), [_format_row(f) for f in facts["formats"]]))
    if "tensors" in facts:
        rows = [(t["name"], " x ".join(map(str, t["shape"])), t["format"], human_bytes(t["bytes"])) for t in facts["tensors"]]
        console.print(_table(("tensor", "shape", "format", "size"), rows))


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    files = f" in {facts['files']} files" if facts["files"] > 1 else ""
    tokenizer, template = facts["tokenizer"], facts["chat_template"]
    pre = f" ({tokenizer['pre']})" if tokenizer and tokenizer["pre"] else ""
    size = f", {tokenizer['size']:,} tokens" if tokenizer and tokenizer["size"] is not None else ""
    return [
        ("file", facts["path"]),
        ("size", f"{human_bytes(facts['bytes'])}{files}"),
        ("architecture", facts["architecture"]),
        ("name", facts["name"] or "-"),
        ("parameters", f"{human_count(facts['parameters'])} ({facts['parameters']:,})"),
        *([("quantization", facts["quantization"])] if facts["quantization"] else []),
        ("context", f"{facts['context_length']:,} tokens" if facts["context_length"] is not None else "-"),
        ("tokenizer", f"{tokenizer['kind']}{pre}{size}" if tokenizer else "none"),
        ("chat template", _first_line(template) if template else "none"),
    ]


def _first_line(template: str) -> str:
    line = next((line.strip() for line in template.splitlines() if line.strip()), "")
    return line if len(line) <= 100 else line[:97] + "..."


def _format_row(entry: dict[str, Any]) -> tuple[str, ...]:
    bits = 8 * entry["bytes"] / entry["parameters"] if entry["parameters"] else 0
    return entry["format"], str(entry["tensors"]), f"{entry['parameters']:,}", human_bytes(entry["bytes"]), f"{bits:.2f}"


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def printable(text: str) -> str:
    """Text from a file, safe to print: control characters are shown and not sent to the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def human_bytes(count: int) -> str:
    """1536 -> "1.5 KiB"."""
    size, units = float(count), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 1024 and unit != "TiB":
        size, unit = size / 1024, next(units)
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def human_count(count: int) -> str:
    """1235814400 -> "1.24 B"."""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= limit:
            return f"{count / limit:.2f} {unit}"
    return str(count)
