"""Small vocabularies, trained here by SentencePiece and by the tokenizers library, as GGUF metadata."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, trainers

WORDS = (
    "the quick brown fox jumps over a lazy dog and then some more of them, aaaa aaaaaa bbbb; don't we're I'll 123 4567 890 "
    "größe straße naïve café привет мир こんにちは 世界 안녕 🦜 🎉 x = y[0] + (z * 3) // {a: b}  if not self.done: return None\n\t"
)
TEXT = [" ".join(WORDS.split(" ")[i:] + WORDS.split(" ")[:i]) + " " * (i % 5) + "end." for i in range(40)]


@cache
def trained(model_type: str, fallback: bool = True, size: int = 600, **options: Any) -> bytes:
    """A SentencePiece model (tokenizer.model), trained on the text above."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=out,
        model_type=model_type,
        vocab_size=size,
        byte_fallback=fallback,
        hard_vocab_limit=False,
        character_coverage=0.99,
        minloglevel=2,
        **options,
    )
    return out.getvalue()


def metadata_of(model: bytes) -> dict[str, Any]:
    """The GGUF metadata of a SentencePiece model."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    spec = proto.normalizer_spec
    return {
        "tokenizer.ggml.model": "llama" if proto.trainer_spec.model_type == 2 else "t5",
        "tokenizer.ggml.tokens": [piece.piece for piece in proto.pieces],
        "tokenizer.ggml.scores": [piece.score for piece in proto.pieces],
        "tokenizer.ggml.token_type": [piece.type for piece in proto.pieces],
        "tokenizer.ggml.bos_token_id": proto.trainer_spec.bos_id,
        "tokenizer.ggml.eos_token_id": proto.trainer_spec.eos_id,
        "tokenizer.ggml.unknown_token_id": proto.trainer_spec.unk_id,
        "tokenizer.ggml.add_space_prefix": spec.add_dummy_prefix,
        "tokenizer.ggml.remove_extra_whitespaces": spec.remove_extra_whitespaces,
        "tokenizer.ggml.precompiled_charsmap": list(spec.precompiled_charsmap) or None,
    }


@cache
def _scored() -> dict[str, Any]:
    return metadata_of(trained("bpe", normalization_rule_name="identity", remove_extra_whitespaces=False))


def scored() -> dict[str, Any]:
    """A vocabulary of kind "llama": merges by score, byte fallback."""
    return dict(_scored())


@cache
def library_bpe(regex: str | None = None, size: int = 600) -> Library:
    """A byte-level BPE, trained on the text above with GPT-2's regex or another."""
    library = Library(models.BPE())
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex is None)]
    if regex is not None:
        from tokenizers import Regex

        steps.insert(0, pre_tokenizers.Split(Regex(regex), "isolated"))
    library.pre_tokenizer = pre_tokenizers.Sequence(steps)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    return library


def byte_level(pre: str = "gpt-2", library: Library | None = None) -> dict[str, Any]:
    """A vocabulary of kind "gpt2"."""
    import json

    library = library or library_bpe()
    vocabulary = library.get_vocab()
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": sorted(vocabulary, key=lambda token: vocabulary[token]),
        "tokenizer.ggml.token_type": [1] * len(vocabulary),
        "tokenizer.ggml.merges": [" ".join(merge) for merge in json.loads(library.to_str())["model"]["merges"]],
    }
