"""What the commands that read whole texts share: the text, its windows, and a bar that shows how far they are."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from heron.cli.prompt import read_file
from heron.errors import RequestError


def read_corpus(files: list[Path]) -> str:
    """The files' texts, one behind the other, as they are. Raises RequestError for what cannot be read, and for nothing at all."""
    text = "".join(read_file(file) for file in files)
    if not text.strip():
        raise RequestError(f"there is no text in {', '.join(map(str, files))}")
    return text


def reading_bar(unit: str) -> Progress:
    """Windows read of all, time gone and to come, and ``task.fields["said"]``; on the terminal's stderr alone."""
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[said]}"), console=console, disable=not console.is_terminal)
