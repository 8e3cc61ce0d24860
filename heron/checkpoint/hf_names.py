"""HF tensor names to GGUF's: a family's own renames first, then gguf-py's tensor map."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

# Buffers that some versions of transformers saved and that every model computes for itself.
IGNORED = (r"(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$", r"\.masked_bias$", r"(^|\.)position_ids$")

# Names that gguf-py's map expects spelled as weights and biases are.
_SPELLINGS = ((".e_score_correction_bias", ".e_score_correction.bias"),)

_LAYER = re.compile(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)")


class NameMap:
    """`names(hf_name)` is the GGUF name, or None when there is none."""

    def __init__(
        self, architecture: str, renames: tuple[tuple[str, str], ...] = (), ignore: tuple[str, ...] = (), prefix: str = ""
    ) -> None:
        """`renames` are (regex of the whole name, replacement); `ignore` are regexes found anywhere in a name.

        What names begin with that `prefix`, a regex, matches says nothing.
        """
        self.architecture, self._prefix = architecture, re.compile(prefix)
        self._renames = [(re.compile(pattern), replacement) for pattern, replacement in renames]
        self._ignore = re.compile("|".join(f"(?:{pattern})" for pattern in IGNORED + ignore))

    def ignored(self, name: str) -> bool:
        return self._ignore.search(name) is not None

    def __call__(self, name: str) -> str | None:
        if prefix := self._prefix.match(name):
            name = name[prefix.end() :]
        for pattern, replacement in self._renames:
            if match := pattern.fullmatch(name):
                return match.expand(replacement)
        for theirs, ours in _SPELLINGS:
            name = name.replace(theirs, ours)
        # gguf-py's map has an entry for each layer; the names of layer 0 tell those of the others.
        layers = _LAYER.findall(name)
        if not layers:
            return _gguf_name(self.architecture, name)
        found = _gguf_name(self.architecture, _LAYER.sub("0", name, count=1))
        return found and found.replace("blk.0.", f"blk.{layers[0]}.", 1)


def _gguf_name(architecture: str, name: str) -> str | None:
    names = _tensor_map(architecture)
    return names and names.get_name(name, try_suffixes=(".weight", ".bias"))


@lru_cache(maxsize=8)
def _tensor_map(architecture: str) -> Any:
    """gguf-py's map for layer 0, or None for an architecture that it lacks. Imported here: only HF folders need it."""
    from gguf.constants import MODEL_ARCH_NAMES
    from gguf.tensor_mapping import TensorNameMap

    # A class of our own: the constructor writes an architecture's exceptions into its class, where the next one finds them.
    fresh = type("FreshTensorNameMap", (TensorNameMap,), {"block_mappings_cfg": dict(TensorNameMap.block_mappings_cfg)})
    architectures = {name: arch for arch, name in MODEL_ARCH_NAMES.items()}
    return fresh(architectures[architecture], 1) if architecture in architectures else None
