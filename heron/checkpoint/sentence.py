"""What a sentence-transformers folder says of its vectors, beside the model: modules.json and the files that it points to.

Source: the files that sentence-transformers saves (https://sbert.net).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from heron.checkpoint.json_file import read_list, read_object
from heron.checkpoint.metadata import Metadata

#: How a Pooling module says what it does -> GGUF's pooling_type.
POOLING_TYPES = {"mean": 1, "cls": 2, "lasttoken": 3}

#: Older pooling configurations have a flag for each mode.
_FLAGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


@dataclass(frozen=True)
class SentenceModel:
    """``pooling_type`` is GGUF's, ``max_tokens`` the longest text, ``unknown`` are steps that Heron does not take."""

    pooling_type: int | None = None
    max_tokens: int | None = None
    unknown: tuple[str, ...] = ()


def read_sentence_model(folder: Path) -> SentenceModel:
    """From a HF folder; nothing is known of one without modules.json. Raises CheckpointError for damaged files."""
    path = folder / "modules.json"
    if not path.is_file():
        return SentenceModel()
    pooling_type, unknown = None, []
    for entry in read_list(path):
        module = Metadata(entry if isinstance(entry, dict) else {}, where=str(path))
        kind = module.text("type").rpartition(".")[2]
        if kind == "Pooling":
            mode = _pooling_mode(folder / Path(module.text("path")).name / "config.json")
            pooling_type = POOLING_TYPES.get(mode)
            unknown += [] if mode in POOLING_TYPES else [f"{mode} pooling"]
        elif kind not in ("Transformer", "Normalize"):
            unknown.append(kind)
    limit = None
    for settings in folder.glob("sentence_*_config.json"):  # sentence_bert_config.json, or older ones with another family's name
        limit = Metadata(read_object(settings), where=str(settings)).integer("max_seq_length", None, minimum=1)
    return SentenceModel(pooling_type, limit, tuple(unknown))


def _pooling_mode(path: Path) -> str:
    config = Metadata(read_object(path), where=str(path))
    modes = [mode for flag, mode in _FLAGS.items() if config.flag(flag, False)]
    return config.text("pooling_mode", "+".join(modes) or "mean")
