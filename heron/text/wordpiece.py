"""WordPiece, as BERT uses it (Devlin et al. 2018, https://arxiv.org/abs/1810.04805)."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers

from heron.text.sentencepiece import SPACE


class WordPiece:
    """Words cut at spaces and punctuation, each the longest tokens from its start on; a word that has none is unknown."""

    def __init__(self, vocabulary: Mapping[str, int], unknown: str, lowercase: bool, strip_accents: bool) -> None:
        """`vocabulary` as GGUF spells it: U+2581 in front of tokens that begin a word."""
        spelled = {token[1:] if token.startswith(SPACE) else f"##{token}": id for token, id in vocabulary.items()}
        spelled.setdefault(unknown, vocabulary.get(unknown, 0))
        self._library = Library(models.WordPiece(vocab=spelled, unk_token=unknown, max_input_chars_per_word=100))
        self._library.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
        self._library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def __call__(self, text: str, first: bool) -> list[int]:
        """Ids of text without special tokens."""
        ids: list[int] = self._library.encode(text).ids
        return ids
