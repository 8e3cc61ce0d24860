"""``tokenizer.model`` as GGUF lists a vocabulary."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from heron.convert.entries import Entries
from heron.text.gguf_vocabulary import Kind
from heron.text.huggingface import Settings
from heron.text.sentencepiece import SPACE
from heron.text.sentencepiece_model import BPE, read_sentencepiece

log = logging.getLogger(__name__)


def read_model(path: Path, settings: Settings) -> Entries:
    """Raises TokenizerError for a damaged file."""
    model = read_sentencepiece(path.read_bytes(), str(path))
    entries = Entries(
        "llama" if model.algorithm == BPE else "t5",
        list(model.tokens),
        [Kind(kind) for kind in model.kinds],
        scores=list(model.scores),
        unknown=model.unknown,
        others={"add_space_prefix": model.add_prefix, "remove_extra_whitespaces": model.merge_spaces},
    )
    if model.algorithm != BPE and model.charsmap:
        entries.others["precompiled_charsmap"] = np.frombuffer(model.charsmap, np.uint8)
    elif model.charsmap or (model.algorithm == BPE and model.merge_spaces):
        log.warning("%s: GGUF files of its kind cannot say how it normalizes text; some texts will be cut into other tokens", path)
    for id, token in sorted(settings.added.items()):
        if id >= len(entries.tokens):
            entries.resize(id + 1)
            entries.tokens[id], entries.kinds[id] = token.content, Kind.USER_DEFINED
        if token.special and entries.tokens[id] == token.content:
            entries.kinds[id] = Kind.CONTROL
    for id, kind in enumerate(entries.kinds):
        if kind == Kind.USER_DEFINED:
            entries.tokens[id] = entries.tokens[id].replace(SPACE, " ")
    return entries
