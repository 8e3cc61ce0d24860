"""Folders with a tokenizer of each kind, trained here, and texts to cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Library
from toy_vocabularies import TEXT, library_bpe, trained

from heron.convert.words import cutter
from heron.text.pretokenizers import PRE_TOKENIZERS

#: Texts that tokenizers stumble over.
HOSTILE = [
    *("", " ", "  ", "   a  b   ", "\n", "\n\n\n \n", "\t\ta\r\n", "a", " a", "a ", "'s 'S don't WE'LL", "1234567 12 3.14 ½ ٣"),
    *("<s>", "</s>", "<user>x<user>", "a <user> b", "<0x41>", "<unk>", "[CLS]", "##a", "▁", "▁▁a", "Ġ", "<|end|>fox<|end|>"),
    *(
        "漢字かな 한국어 привет",
        "🦜👩‍👩‍👧‍👦🎉",
        "e\u0301 n\u0303 ﬁ ǅ",
        "\u00a0\u2003\u200b\ufeff",
        "\U0010ffff\u0378",
        "aaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    *("x = y[0] + (z * 3) // {a: b}", "a" * 300, "größe straße naïve café", "fox" * 50, "...!!!???---"),
]


def texts(shared: Path | None) -> list[str]:
    """The above, those that vocabularies were trained on, and those of the shared vocabularies, if they are there."""
    found = [*HOSTILE, *TEXT[:3]]
    if shared is not None:
        for path in sorted((shared / "data/vocabs").glob("*.inp"))[:1]:
            found += path.read_bytes().decode().split("\n__ggml_vocab_test__\n")
    return found


def _save(library: Library, folder: Path, *, ends: tuple[str, str] = ("<s>", "</s>"), **config: Any) -> Path:
    library.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (*ends, "<|end|>")])
    library.add_tokens([AddedToken("<user>", normalized=False)])
    numbered = [(token, library.token_to_id(token)) for token in ends]
    library.post_processor = processors.TemplateProcessing(single=" ".join((ends[0], "$A", ends[1])), pair="$A $B", special_tokens=numbered)
    library.save(str(folder / "tokenizer.json"))
    config = {"bos_token": ends[0], "eos_token": ends[1], "chat_template": "{{ bos_token }}", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def byte_level(folder: Path, pre: str | None = None) -> Path:
    """Byte-level BPE; cut by an entry of the table, or by GPT-2's regex as the library has it."""
    library = Library.from_str(library_bpe().to_str())
    if pre is not None:
        library.pre_tokenizer = cutter(PRE_TOKENIZERS[pre])
        library = Library.from_str(library.to_str().replace('"ignore_merges":false', '"ignore_merges":true'))
    library.decoder = decoders.ByteLevel()
    return _save(library, folder)


def byte_fallback(folder: Path) -> Path:
    """BPE on characters with bytes for unknown ones, as Llama 2's tokenizer.model becomes a tokenizer.json."""
    model = sentencepiece.SentencePieceProcessor(
        model_proto=trained("bpe", normalization_rule_name="identity", remove_extra_whitespaces=False)
    )
    tokens = [model.id_to_piece(id) for id in range(model.vocab_size())]
    pieces = {token: id for id, token in enumerate(tokens) if not (model.is_control(id) or model.is_unknown(id) or model.is_byte(id))}
    merges = [
        (token[:at], token[at:])
        for token in sorted(pieces, key=lambda token: -model.get_score(pieces[token]))
        for at in range(1, len(token))
        if token[:at] in pieces and token[at:] in pieces
    ]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    library = Library(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    library.decoder = decoders.Sequence(steps)
    return _save(library, folder, unk_token="<unk>")


def unigram(folder: Path) -> Path:
    """Unigram with T5's normalization."""
    library = Library(models.Unigram())
    charsmap = sentencepiece_model_pb2.ModelProto.FromString(trained("unigram")).normalizer_spec.precompiled_charsmap
    steps = [normalizers.Precompiled(charsmap), normalizers.Strip(False, True), normalizers.Replace(Regex(" {2,}"), "▁")]
    library.normalizer = normalizers.Sequence(steps)
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, show_progress=False, special_tokens=["<pad>", "<unk>"], unk_token="<unk>")
    library.train_from_iterator(TEXT, trainer)
    return _save(library, folder, unk_token="<unk>", pad_token="<pad>")


def word_pieces(folder: Path) -> Path:
    """WordPiece as BERT has it."""
    library = Library(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    library.train_from_iterator(TEXT, trainers.WordPieceTrainer(vocab_size=300, show_progress=False, special_tokens=special))
    names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    return _save(library, folder, ends=("[CLS]", "[SEP]"), **names, bos_token=None, eos_token=None)


def sentence_piece(folder: Path) -> Path:
    """tokenizer.model alone, with tokens added beside it."""
    (folder / "tokenizer.model").write_bytes(_model())
    added = {"600": {"content": "<|end|>", "special": True}, "601": {"content": "<user>", "special": False}}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added, "add_bos_token": True}))
    return folder


@cache
def _model() -> bytes:
    return trained("bpe", normalization_rule_name="identity", remove_extra_whitespaces=False)


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "byte-level BPE": byte_level,
    "byte-level BPE, as llama3": lambda folder: byte_level(folder, "llama3"),
    "byte-level BPE, as qwen2": lambda folder: byte_level(folder, "qwen2"),
    "byte-level BPE, as deepseek-v3": lambda folder: byte_level(folder, "deepseek-v3"),
    "byte-fallback BPE": byte_fallback,
    "unigram": unigram,
    "word pieces": word_pieces,
    "tokenizer.model": sentence_piece,
}
