"""The tokenizer of a HF folder as the keys ``tokenizer.*`` of a GGUF file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from heron.convert.from_json import read_json
from heron.convert.from_sentencepiece import read_model
from heron.errors import TokenizerError
from heron.text.ends import end_tokens
from heron.text.gguf_vocabulary import KEY, GGUFVocabulary
from heron.text.huggingface import Settings
from heron.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

#: What configurations call a token -> GGUF's key of its id, without "_token_id".
_IDS = {
    "bos_token": "bos",
    "eos_token": "eos",
    "unk_token": "unknown",
    "pad_token": "padding",
    "sep_token": "seperator",
    "cls_token": "cls",
    "mask_token": "mask",
}
_NONE = 0xFFFFFFFF  # of an id: there is none, whatever the kind's default


def vocabulary(folder: Path, rows: int) -> dict[str, Any]:
    """The keys of the folder's tokenizer, with as many tokens as the embedding has ``rows``; none for a folder without a tokenizer.

    Raises TokenizerError for damaged files, UnsupportedError for tokenizers that GGUF files cannot hold.
    """
    files = {"tokenizer.json": read_json, "tokenizer.model": read_model}
    path = next((folder / name for name in files if (folder / name).is_file()), None)
    if path is None:
        log.warning("%s: there is no %s; the file will have no tokenizer", folder, " or ".join(files))
        return {}
    settings = Settings(folder)
    tokenizer = Tokenizer.from_folder(folder)
    entries = files[path.name](path, settings)
    if len(entries.tokens) > rows:
        log.warning("%s: of its %d tokens the model knows %d; the others are left out", path, len(entries.tokens), rows)
    entries.resize(rows)
    values: dict[str, Any] = {
        "model": entries.model,
        "pre": entries.others.pop("pre", "default"),
        "tokens": entries.tokens,
        "token_type": np.array(entries.kinds, np.int32),
    }
    if entries.scores is not None:
        values["scores"] = np.array(entries.scores, np.float32)
    if entries.merges is not None:
        values["merges"] = entries.merges
    values |= entries.others
    ids = _named_ids(tokenizer, entries.unknown) | _ends(tokenizer)
    values |= {f"{name}_token_id": id for name, id in ids.items() if id < rows}
    values |= _added(tokenizer, entries.model, values)
    for name in GGUFVocabulary({f"{KEY}model": entries.model, f"{KEY}tokens": ["a"]}).defaults.ids:
        values.setdefault(f"{name}_token_id", _NONE)
    return {f"{KEY}{key}": value for key, value in values.items()} | _templates(tokenizer)


def _named_ids(tokenizer: Tokenizer, unknown: int | None) -> dict[str, int]:
    found = {ours: tokenizer.id(tokenizer.named_tokens[theirs]) for theirs, ours in _IDS.items() if theirs in tokenizer.named_tokens}
    found |= {"bos": tokenizer.bos, "eos": tokenizer.eos, "unknown": found.get("unknown") if unknown is None else unknown}
    return {name: id for name, id in found.items() if id is not None}


def _ends(tokenizer: Tokenizer) -> dict[str, int]:
    """Up to two ids that end a turn, beside those that readers know by their text."""
    special = set(tokenizer.special_tokens)
    known = end_tokens(special, [tokenizer.token(id) for id in tokenizer.eos_ids])
    further = sorted(id for id in tokenizer.eos_ids if id != tokenizer.eos and tokenizer.token(id) not in known)
    if len(further) > 2:
        log.warning("ids %s end a turn too, and GGUF files have no key for them", further[2:])
    return dict(zip(("eot", "eom"), further, strict=False))


def _added(tokenizer: Tokenizer, model: str, values: dict[str, Any]) -> dict[str, Any]:
    """What is put before and after a text. Raises TokenizerError where that is more than a token on each side."""
    prefix, suffix = tokenizer.prefix, tokenizer.suffix
    if len(prefix) > 1 or len(suffix) > 1:
        raise TokenizerError(f"texts begin with {len(prefix)} tokens and end with {len(suffix)}, and GGUF files can say one each")
    added: dict[str, Any] = {"add_bos_token": bool(prefix)}
    if prefix:
        added["bos_token_id"] = prefix[0]
    ends = bool(suffix) and suffix[0] == values.get("eos_token_id") and model != "bert"
    added |= {"add_eos_token": ends, "add_sep_token": bool(suffix) and not ends}
    if suffix and not ends:
        added["seperator_token_id"] = suffix[0]
    return added


def _templates(tokenizer: Tokenizer) -> dict[str, Any]:
    named = dict(tokenizer.chat_templates)
    found: dict[str, Any] = {} if tokenizer.chat_template is None else {"tokenizer.chat_template": tokenizer.chat_template}
    if named:
        found["tokenizer.chat_templates"] = list(named)
    return found | {f"tokenizer.chat_template.{name}": text for name, text in named.items()}
