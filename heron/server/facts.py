"""What is known of a model before it is loaded, read from its files: what it can do, and how long its context is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heron.checkpoint.checkpoint import Checkpoint, locate
from heron.graph.graph import Model as GraphModel
from heron.models.registry import build_model, load_families
from heron.server.infill import SPELLINGS
from heron.text.templates import BUILTIN
from heron.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Facts:
    """``capabilities`` are among chat, completion, embeddings and infill; ``bytes`` are those of the files.

    ``context_length`` is what it would have if it were loaded, ``own_context`` the most that it was made for.
    """

    architecture: str
    capabilities: tuple[str, ...]
    context_length: int
    own_context: int
    vocab_size: int
    hidden_size: int
    bytes: int


def read_facts(path: Path, context: Callable[[GraphModel], int]) -> Facts:
    """``context`` tells how much of a model's own there is room for. Raises HeronError for what Heron cannot run, and OSError."""
    if locate(path).is_dir():
        load_families()  # a folder is opened by what its family says of it
    with Checkpoint(path) as checkpoint:
        graphs = build_model(checkpoint)
        size = sum(file.stat().st_size for file in checkpoint.files)
        able = tuple(_capabilities(checkpoint, graphs))
        own = graphs.context_length
        return Facts(checkpoint.architecture, able, context(graphs), own, graphs.vocab_size, graphs.hidden_size, size)


def _capabilities(checkpoint: Checkpoint, graphs: GraphModel) -> list[str]:
    if "forward" not in graphs.entries:
        return ["embeddings"]
    has_template, has_token = _text_parts(checkpoint)

    def has_all(tokens: tuple[str, ...]) -> bool:
        return all(map(has_token, tokens))

    chats = has_template or any(has_all(tokens) for *_, tokens in BUILTIN)
    fills = "tokenizer.ggml.fim_pre_token_id" in checkpoint.metadata or any(map(has_all, SPELLINGS))
    return [*(["chat"] if chats else []), "completion", "embeddings", *(["infill"] if fills else [])]


def _text_parts(checkpoint: Checkpoint) -> tuple[bool, Callable[[str], bool]]:
    """Whether there is a template, and whether a token is spelled so. A GGUF file says it without its tokenizer being made."""
    if checkpoint.source == "gguf":
        tokens = frozenset(checkpoint.metadata.strings("tokenizer.ggml.tokens", ()))
        return checkpoint.metadata.text("tokenizer.chat_template", None) is not None, tokens.__contains__
    tokenizer = Tokenizer.from_checkpoint(checkpoint)
    return tokenizer.chat_template is not None, lambda text: tokenizer.id(text) is not None


#: A file's path, size and time of change.
Stamp = tuple[tuple[str, int, int], ...]


def stamp(path: Path) -> Stamp:
    """Changes where a model's files do, also where one of a split comes or goes. Raises OSError where there is none."""
    files = sorted(path.iterdir()) if path.is_dir() else [path, *(shard for shard in _shards(path) if shard.exists())]
    return tuple((str(file), found.st_size, found.st_mtime_ns) for file in files for found in [file.stat()])


def _shards(path: Path) -> list[Path]:
    """The files of the split that one is of, as gguf-split names them."""
    split = re.fullmatch(r"(.*-)\d{5}(-of-(\d{5})\.gguf)", path.name, re.DOTALL)
    return [path.with_name(f"{split[1]}{number:05}{split[2]}") for number in range(1, int(split[3]) + 1)] if split else []
