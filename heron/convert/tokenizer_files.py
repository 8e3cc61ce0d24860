"""A GGUF file's vocabulary as the files of a folder: tokenizer.json, tokenizer_config.json, chat templates."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Library

from heron.checkpoint.metadata import Metadata
from heron.convert.words import cutter
from heron.errors import UnsupportedError
from heron.text.gguf_vocabulary import KEY, GGUFVocabulary, Kind
from heron.text.pretokenizers import pre_tokenizer
from heron.text.sentencepiece import SPACE
from heron.text.tokenizer import Tokenizer


def tokenizer_files(metadata: Metadata) -> dict[str, str]:
    """File name -> text; none for a file without a vocabulary.

    Raises UnsupportedError for kinds of vocabularies that tokenizer.json cannot hold, TokenizerError for damaged ones.
    """
    if f"{KEY}model" not in metadata:
        return {}
    vocabulary, tokenizer = GGUFVocabulary(metadata), Tokenizer.from_metadata(metadata)
    if vocabulary.model not in _MAKERS:
        raise UnsupportedError(f"{metadata.where}: a vocabulary of kind {vocabulary.model!r} cannot be written as tokenizer.json")
    library = _MAKERS[vocabulary.model](vocabulary)
    _add_tokens(library, vocabulary, tokenizer)
    _frame(library, tokenizer)
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    config |= {name: text for name, text in tokenizer.named_tokens.items() if library.token_to_id(text) is not None}
    context = metadata.get(f"{metadata.text('general.architecture')}.context_length")
    config |= {} if context is None else {"model_max_length": context}
    files = {"tokenizer.json": library.to_str(pretty=True)}
    files["tokenizer_config.json"] = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    if tokenizer.chat_template is not None:
        files["chat_template.jinja"] = tokenizer.chat_template
    for name, template in tokenizer.chat_templates.items():
        files[f"additional_chat_templates/{_file_name(name)}.jinja"] = template
    return files


def _file_name(name: str) -> str:
    """A template's name, which comes from the file, as that of a file in its folder."""
    return "".join(char if char.isalnum() or char in "-_" else "_" for char in name)


def _ids(vocabulary: GGUFVocabulary) -> dict[str, int]:
    return {token: id for id, token in reversed(list(enumerate(vocabulary.tokens)))}


def _byte_level(vocabulary: GGUFVocabulary) -> Library:
    pre = pre_tokenizer(vocabulary.text("pre"))
    if not pre.byte_level:
        raise UnsupportedError(f"tokenizer.ggml.pre {vocabulary.text('pre')!r} cannot be written as tokenizer.json")
    ids = _ids(vocabulary)
    pairs = [tuple(merge.split(" ", 1)) for merge in vocabulary.strings("merges")]
    fitting = [(left, right) for left, right in pairs if left in ids and right in ids and left + right in ids]
    library = Library(models.BPE(ids, fitting, ignore_merges=pre.ignore_merges))
    library.pre_tokenizer, library.decoder = cutter(pre), decoders.ByteLevel()
    return library


def _scored(vocabulary: GGUFVocabulary) -> Library:
    """Merging by score is merging by a list of all pairs that make up tokens, in the order of the tokens' scores."""
    ids, scores = _ids(vocabulary), vocabulary.scores()
    usable = vocabulary.of(Kind.NORMAL, Kind.UNUSED)
    merges = [
        (token[:at], token[at:])
        for token in sorted(usable, key=lambda token: -scores[usable[token]])
        for at in range(1, len(token))
        if token[:at] in usable and token[at:] in usable
    ]
    unknown = vocabulary.id("unknown")
    text = None if unknown is None else vocabulary.tokens[unknown]
    bytes_ = len(vocabulary.of(Kind.BYTE)) == 256
    library = Library(models.BPE(ids, merges, unk_token=text, fuse_unk=True, byte_fallback=bytes_))
    prefix = vocabulary.flag("add_space_prefix", vocabulary.defaults.add_space_prefix)
    library.normalizer = normalizers.Sequence([*([normalizers.Prepend(SPACE)] if prefix else []), normalizers.Replace(" ", SPACE)])
    steps: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    library.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    return library


def _unigram(vocabulary: GGUFVocabulary) -> Library:
    pieces = list(zip(vocabulary.tokens, vocabulary.scores(), strict=True))
    bytes_ = len(vocabulary.of(Kind.BYTE)) == 256
    library = Library(models.Unigram(pieces, vocabulary.id("unknown"), bytes_))
    steps: list[Any] = [normalizers.Precompiled(vocabulary.charsmap())] if vocabulary.charsmap() else []
    if vocabulary.flag("remove_extra_whitespaces", False):
        steps += [normalizers.Strip(False, True), normalizers.Replace(Regex(" {2,}"), SPACE)]
    if steps:
        library.normalizer = normalizers.Sequence(steps)
    scheme = "always" if vocabulary.flag("add_space_prefix", vocabulary.defaults.add_space_prefix) else "never"
    library.pre_tokenizer, library.decoder = (kind.Metaspace(prepend_scheme=scheme) for kind in (pre_tokenizers, decoders))
    return library


def _word_pieces(vocabulary: GGUFVocabulary) -> Library:
    unknown = vocabulary.tokens[vocabulary.id("unknown") or 0]
    meaning = {*vocabulary.of(Kind.CONTROL, Kind.UNKNOWN, Kind.USER_DEFINED, Kind.UNUSED), unknown}
    spelled = {
        token if token in meaning else token[1:] if token.startswith(SPACE) else f"##{token}": id for token, id in _ids(vocabulary).items()
    }
    library = Library(models.WordPiece(spelled, unk_token=unknown))
    lowercase = vocabulary.flag("normalizer.lowercase", True)
    library.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=vocabulary.flag("normalizer.strip_accents", lowercase)
    )
    library.pre_tokenizer, library.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    return library


_MAKERS = {"gpt2": _byte_level, "llama": _scored, "t5": _unigram, "bert": _word_pieces}


def _add_tokens(library: Library, vocabulary: GGUFVocabulary, tokenizer: Tokenizer) -> None:
    """Tokens that are found in text as they stand, in the order of their ids."""
    spaced = vocabulary.model in ("llama", "t5")
    for id, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True)):
        if tokenizer.is_special(id):
            library.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == Kind.USER_DEFINED:
            library.add_tokens([AddedToken(token.replace(SPACE, " ") if spaced else token, normalized=False)])


def _frame(library: Library, tokenizer: Tokenizer) -> None:
    """What is put before and after a text."""
    first, last = ([tokenizer.token(id) for id in ids] for ids in (tokenizer.prefix, tokenizer.suffix))
    if first or last:
        numbered = [(token, library.token_to_id(token)) for token in {*first, *last}]
        single = [*first, "$A", *last]
        pair = [*single, *(f"{part}:1" for part in ("$B", *last))]
        library.post_processor = processors.TemplateProcessing(single=" ".join(single), pair=" ".join(pair), special_tokens=numbered)
