"""``tokenizer.json`` as GGUF lists a vocabulary.

GGUF files have no way to say how added tokens strip spaces beside them, nor which Unicode form byte-level tokenizers bring text into;
other programs leave both out too. Source of the format: the tokenizers library.
"""

from __future__ import annotations

import json
import logging
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Library

from heron.convert.entries import Entries
from heron.convert.words import name_of, steps
from heron.errors import UnsupportedError
from heron.text.gguf_vocabulary import Kind
from heron.text.huggingface import Settings
from heron.text.library import load_library
from heron.text.sentencepiece import SPACE
from heron.text.sentencepiece_model import read_sentencepiece

log = logging.getLogger(__name__)

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


def read_json(path: Path, settings: Settings) -> Entries:
    """Raises UnsupportedError for tokenizers that GGUF cannot hold, TokenizerError for damaged files."""
    text = path.read_text("utf-8")
    library = load_library(text, str(path), settings.added)
    library.add_special_tokens([token for token in settings.named.values() if library.token_to_id(token) is not None])
    described = json.loads(text)
    kind = described["model"].get("type")
    if kind == "BPE" and any(step.get("type") == "ByteLevel" for step in steps(described.get("pre_tokenizer"))):
        kind = "byte-level BPE"
    if kind not in _READERS:
        raise UnsupportedError(f"{path}: GGUF files have no vocabularies of the kind {kind}; known are {', '.join(_READERS)}")
    entries = _READERS[kind](_listed(library), described, path)
    if entries.unknown is None and (unknown := described["model"].get("unk_token")) is not None:
        entries.unknown = library.token_to_id(unknown)
    if entries.model in ("llama", "t5") and entries.unknown is not None:
        entries.kinds[entries.unknown] = Kind.UNKNOWN
    return entries


def _listed(library: Library) -> Entries:
    """All tokens as the library spells them."""
    vocabulary = library.get_vocab(with_added_tokens=True)
    tokens = [""] * (max(vocabulary.values()) + 1)
    for token, id in vocabulary.items():
        tokens[id] = token
    kinds = [Kind.NORMAL] * len(tokens)
    for id, added in library.get_added_tokens_decoder().items():
        kinds[id] = Kind.CONTROL if added.special else Kind.USER_DEFINED
    return Entries("", tokens, kinds)


def _byte_level(entries: Entries, described: dict[str, Any], path: Path) -> Entries:
    model, cutting = described["model"], described["pre_tokenizer"]
    if any(step.get("add_prefix_space") for step in steps(cutting) if step["type"] == "ByteLevel"):
        _left_out(path, "that a space is put before a text")
        cutting = {"type": "Sequence", "pretokenizers": [{**step, "add_prefix_space": False} for step in steps(cutting)]}
    _normalizers(described, path)
    entries.model, entries.merges = "gpt2", _merges(model)
    entries.others["pre"] = name_of(cutting, bool(model.get("ignore_merges")), str(path))
    return entries


def _merges(model: dict[str, Any]) -> list[str]:
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]


def _scored(entries: Entries, described: dict[str, Any], path: Path) -> Entries:
    """BPE on characters and bytes. GGUF merges by the scores of the results: those of tokenizer.model, or by the places in the list."""
    entries.model = "llama"
    _spell_spaces(entries)
    rules = _normalizers(described, path, "Prepend", "Replace")
    entries.others["add_space_prefix"] = _prefixed(described) or any(rule["type"] == "Prepend" for rule in rules)
    entries.scores = _stored_scores(path, entries.tokens)
    if entries.scores is None:
        ranks: dict[str, int] = {}
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in described["model"]["merges"]]
        for rank, (left, right) in enumerate(pairs):
            ranks.setdefault(left + right, rank)
        _compare(pairs, described["model"]["vocab"], path)
        entries.scores = [-float(ranks.get(token, len(pairs))) for token in entries.tokens]
    return entries


def _stored_scores(path: Path, tokens: list[str]) -> list[float] | None:
    """The scores of the tokenizer.model beside the file, if that has the same tokens."""
    beside = path.with_name("tokenizer.model")
    if not beside.is_file():
        return None
    model = read_sentencepiece(beside.read_bytes(), str(beside))
    scores = dict(zip(model.tokens, model.scores, strict=True))
    found = [scores.get(token.replace(" ", SPACE)) for token in tokens[: len(model.tokens)]]
    if None in found:
        return None
    return [score or 0.0 for score in found] + [0.0] * (len(tokens) - len(found))


def _compare(pairs: list[list[str]], vocabulary: dict[str, int], path: Path) -> None:
    """Scores let any two neighbours merge that make up a token; a list of merges may not have all of these pairs."""
    listed = {(left, right) for left, right in pairs}
    for token in {left + right for left, right in listed}:
        halves = ((token[:at], token[at:]) for at in range(1, len(token)))
        if any(left in vocabulary and right in vocabulary and (left, right) not in listed for left, right in halves):
            _left_out(path, "which of the ways to make up a token its merges may not take")
            return


def _unigram(entries: Entries, described: dict[str, Any], path: Path) -> Entries:
    entries.model, entries.unknown = "t5", described["model"].get("unk_id")
    _spell_spaces(entries)
    rules = _normalizers(described, path, "Precompiled", "Replace", "Strip")
    entries.scores = [float(score) for _, score in described["model"]["vocab"]]
    entries.scores += [0.0] * (len(entries.tokens) - len(entries.scores))
    types = {step.get("type") for step in steps(described.get("pre_tokenizer"))}
    runs = any(rule["type"] == "Replace" and "{2,}" in rule["pattern"].get("Regex", "") for rule in rules)
    entries.others["add_space_prefix"] = _prefixed(described)
    entries.others["remove_extra_whitespaces"] = runs or "WhitespaceSplit" in types
    for rule in rules:
        if rule["type"] == "Precompiled" and rule.get("precompiled_charsmap"):
            entries.others["precompiled_charsmap"] = np.frombuffer(b64decode(rule["precompiled_charsmap"]), np.uint8)
    return entries


def _word_pieces(entries: Entries, described: dict[str, Any], path: Path) -> Entries:
    """GGUF marks the pieces that begin a word, HF those that do not."""
    entries.model = "bert"
    inner = described["model"].get("continuing_subword_prefix", "##")
    for id, token in enumerate(entries.tokens):
        if token and entries.kinds[id] == Kind.NORMAL:
            entries.tokens[id] = token.removeprefix(inner) if token.startswith(inner) else SPACE + token
    rules = _normalizers(described, path, "BertNormalizer", "Lowercase", "StripAccents", "NFD")
    lowercase = any(rule["type"] == "Lowercase" or rule.get("lowercase") for rule in rules)
    accents = [lowercase if rule.get("strip_accents") is None else rule["strip_accents"] for rule in rules if "strip_accents" in rule]
    entries.others["normalizer.lowercase"] = lowercase
    entries.others["normalizer.strip_accents"] = any(accents) or any(rule["type"] == "StripAccents" for rule in rules)
    return entries


def _spell_spaces(entries: Entries) -> None:
    """Which tokens are bytes; and those of them that are found in text as it stands, as it stands."""
    for id, (token, kind) in enumerate(zip(entries.tokens, entries.kinds, strict=True)):
        if kind == Kind.USER_DEFINED:
            entries.tokens[id] = token.replace(SPACE, " ")
        elif kind == Kind.NORMAL and _BYTE.fullmatch(token):
            entries.kinds[id] = Kind.BYTE


def _prefixed(described: dict[str, Any]) -> bool:
    """Whether the pre-tokenizer puts a space before a text."""
    marks = [step for step in steps(described.get("pre_tokenizer")) if step.get("type") == "Metaspace"]
    return any(step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never") != "never" for step in marks)


def _normalizers(described: dict[str, Any], path: Path, *known: str) -> list[dict[str, Any]]:
    """The steps that prepare text; a warning for those of other types than are known."""
    rules = described.get("normalizer") or {}
    found = [rule for rule in rules.get("normalizers", [rules]) if rule]
    if unknown := sorted({rule["type"] for rule in found} - {*known}):
        _left_out(path, f"that text is brought into another form first ({', '.join(unknown)})")
    return [rule for rule in found if rule["type"] in known]


def _left_out(path: Path, what: str) -> None:
    log.warning("%s: GGUF files cannot say %s; some texts will be cut into other tokens", path, what)


_READERS: dict[str, Callable[[Entries, dict[str, Any], Path], Entries]] = {
    "byte-level BPE": _byte_level,
    "BPE": _scored,
    "Unigram": _unigram,
    "WordPiece": _word_pieces,
}
