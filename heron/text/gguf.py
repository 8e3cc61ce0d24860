"""A tokenizer from GGUF metadata, with the defaults of the format's other readers for what a file does not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from heron.errors import TokenizerError
from heron.text.bpe import MergeBPE, spelled_bytes
from heron.text.ends import TURN_ENDS, end_tokens
from heron.text.gguf_vocabulary import BY_MERGES, KEY, GGUFVocabulary, Kind
from heron.text.parts import Partition, Parts, Segmenter
from heron.text.pretokenizers import PRE_TOKENIZERS, PreTokenizer, pre_tokenizer
from heron.text.rwkv import Greedy, unescaped
from heron.text.sentencepiece import SPACE, Preparation, ScoredMerges, SentencePiece, Unigram
from heron.text.wordpiece import WordPiece

# The names that templates have for the ids in the metadata.
_NAMED = {
    "bos": "bos_token",
    "eos": "eos_token",
    "unknown": "unk_token",
    "padding": "pad_token",
    "seperator": "sep_token",
    "mask": "mask_token",
}


def gguf_parts(metadata: Mapping[str, Any]) -> Parts:
    """The parts of the tokenizer that GGUF metadata describe.

    Raises TokenizerError for missing or inconsistent data, UnsupportedError for a kind of vocabulary that Heron lacks.
    """
    vocabulary = GGUFVocabulary(metadata)
    control, others = vocabulary.of(Kind.CONTROL, Kind.UNKNOWN), vocabulary.among(TURN_ENDS, Kind.NORMAL, Kind.USER_DEFINED)
    ends = end_tokens(control, others)
    special = {**control, **{text: others[text] for text in ends if text not in control}}
    defined = {text: id for text, id in vocabulary.of(Kind.USER_DEFINED).items() if text not in special}
    ids = {name: vocabulary.id(name) for name in (*_NAMED, "cls", "eot", "eom")}
    if vocabulary.model == "bert" and ids["bos"] is None:
        ids["bos"] = ids["cls"]
    pre = _pre_tokenizer(vocabulary)
    prefix = _added(vocabulary, ids, "bos", vocabulary.defaults.add_bos or pre.add_bos)
    suffix = _added(vocabulary, ids, "eos", vocabulary.defaults.add_eos)
    suffix += _added(vocabulary, ids, "seperator", vocabulary.defaults.add_sep or pre.add_sep)
    templates = {str(key).removeprefix("tokenizer.chat_template."): value for key, value in metadata.items() if _is_template(key, value)}
    # Phi-3's tokens drop the spaces that follow them, which GGUF has no key for.
    name = str(metadata.get("general.name", "")).lower()
    stripping = set(special) - {"<unk>", "<s>", "<|endoftext|>"} | {"</s>"} if "phi-3" in name or "phi3" in name else set()
    return Parts(
        tokens=vocabulary.tokens,
        piece=_piece(vocabulary, special, pre.byte_level),
        special=frozenset(special.values()),
        encoder=Partition(_segmenter(vocabulary, pre, special, ids), special, defined, stripping),
        prefix=prefix,
        suffix=suffix,
        strip_space=vocabulary.model == "bert" or _adds_space(vocabulary),
        bos=ids["bos"],
        eos=ids["eos"],
        ends=frozenset({special[text] for text in ends} | {id for id in (ids["eot"], ids["eom"]) if id is not None}),
        named={text: vocabulary.tokens[id] for name, text in _NAMED.items() if (id := ids[name]) is not None},
        chat_template=templates.pop("tokenizer.chat_template", None),
        templates=templates,
    )


def _pre_tokenizer(vocabulary: GGUFVocabulary) -> PreTokenizer:
    if vocabulary.model == "gemma4":
        return PRE_TOKENIZERS["gemma4"]
    return pre_tokenizer(vocabulary.text("pre")) if vocabulary.model == "gpt2" else PreTokenizer(())


def _adds_space(vocabulary: GGUFVocabulary) -> bool:
    """Byte-level files may have the key too, but neither their encoding nor their decoding heeds it."""
    wanted = vocabulary.flag("add_space_prefix", vocabulary.defaults.add_space_prefix)
    return wanted and vocabulary.model in ("llama", "t5")


def _is_template(key: str, value: Any) -> bool:
    return isinstance(value, str) and (key == "tokenizer.chat_template" or key.startswith("tokenizer.chat_template."))


def _added(vocabulary: GGUFVocabulary, ids: Mapping[str, int | None], name: str, default: bool) -> list[int]:
    key = {"bos": "add_bos_token", "eos": "add_eos_token", "seperator": "add_sep_token"}[name]
    # Gemma 4 files were made that say false, and the model answers nonsense without its first token.
    wanted = vocabulary.flag(key, default) or (vocabulary.model == "gemma4" and name == "bos")
    id = ids[name]
    return [id] if wanted and id is not None else []


def _piece(vocabulary: GGUFVocabulary, special: Mapping[str, int], byte_level: bool) -> Callable[[int], bytes]:
    """What each token decodes to."""
    spaced = vocabulary.model != "gpt2" or not byte_level

    def piece(id: int) -> bytes:
        token, kind = vocabulary.tokens[id], vocabulary.kinds[id]
        if token in special:
            return token.encode()
        if vocabulary.model == "rwkv":
            return unescaped(token)
        if kind == Kind.BYTE:
            return bytes([_byte_value(token)])
        if kind in (Kind.USER_DEFINED, Kind.UNUSED):
            return token.encode()
        return token.replace(SPACE, " ").encode() if spaced else spelled_bytes(token)

    return piece


def _byte_value(token: str) -> int:
    """The value of a byte token, <0x0A>. Raises TokenizerError for other spellings."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return int(token[3:5], 16)
        except ValueError:
            pass
    raise TokenizerError(f"{KEY}tokens has {token[:20]!r} as a byte token, and those are written <0x00> to <0xFF>")


def _fallback(vocabulary: GGUFVocabulary) -> list[int]:
    """The ids of the 256 byte tokens, by value; empty unless the vocabulary has them all."""
    ids = {_byte_value(token): id for token, id in vocabulary.of(Kind.BYTE).items()}
    return [ids[value] for value in range(256)] if len(ids) == 256 else []


def _segmenter(vocabulary: GGUFVocabulary, pre: PreTokenizer, special: Mapping[str, int], ids: Mapping[str, int | None]) -> Segmenter:
    model, unknown = vocabulary.model, ids["unknown"]
    if model in BY_MERGES:
        merges = vocabulary.strings("merges")
        if not merges and any(len(token) > 1 for token in vocabulary.of(Kind.NORMAL)):
            raise TokenizerError(f"{KEY}merges is empty, so most tokens could never be used; convert the model again")
        # Tokens with a meaning cannot arise from text, whatever the merges say.
        return MergeBPE(vocabulary.usable(special), merges, pre)
    if model == "bert":
        lowercase = vocabulary.flag("normalizer.lowercase", True)
        strip_accents = vocabulary.flag("normalizer.strip_accents", lowercase)
        return WordPiece(vocabulary.of(*Kind), vocabulary.tokens[unknown or 0], lowercase, strip_accents)
    if model == "rwkv":
        pieces = {unescaped(text): id for text, id in vocabulary.of(*Kind).items() if text not in special}
        return Greedy(pieces, [] if unknown is None else [unknown])
    prefix = _adds_space(vocabulary)
    scores = vocabulary.scores()
    if model == "llama":
        usable = {text: id for text, id in vocabulary.of(Kind.NORMAL, Kind.USER_DEFINED, Kind.UNUSED).items() if text not in special}
        scored = {text: (id, scores[id]) for text, id in usable.items()}
        merges_by_score = ScoredMerges(scored, vocabulary.of(Kind.UNUSED).values(), unknown, _fallback(vocabulary))
        return SentencePiece(merges_by_score, Preparation(add_prefix=prefix))
    if unknown is None:
        raise TokenizerError(f"{KEY}unknown_token_id is missing, and a vocabulary of kind 't5' needs it; convert the model again")
    findable = {Kind.NORMAL, Kind.USER_DEFINED, Kind.UNUSED}
    weighted = [
        (token if kind in findable and token not in special else "", score)
        for token, kind, score in zip(vocabulary.tokens, vocabulary.kinds, scores, strict=True)
    ]
    core = Unigram(weighted, unknown, _fallback(vocabulary))
    merge_spaces = vocabulary.flag("remove_extra_whitespaces", False)
    return SentencePiece(core, Preparation(charsmap=vocabulary.charsmap(), add_prefix=prefix, merge_spaces=merge_spaces))
