"""Prompts for models that fill in: what stands before a gap, what stands after it, and the tokens that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heron.engine.model import Model
from heron.server.errors import ApiError

#: How vocabularies spell the tokens before the beginning, before what follows the gap, and before what fills it.
SPELLINGS: tuple[tuple[str, str, str], ...] = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen 2.5 Coder
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
    ("<PRE>", "<SUF>", "<MID>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek Coder
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM
)
_FILE_SPELLINGS = (("<|repo_name|>", "<|file_sep|>"), ("<repo_name>", "<file_sep>"), ("<reponame>", "<filename>"))


@dataclass(frozen=True)
class InfillTokens:
    """Ids; ``repository`` and ``file`` only where the model was trained with whole repositories."""

    prefix: int
    suffix: int
    middle: int
    repository: int | None = None
    file: int | None = None


def infill_tokens(model: Model) -> InfillTokens | None:
    """The model's, by what its file says or else by their spelling; None where it has none."""
    tokenizer, said = (
        model.tokenizer,
        [model.checkpoint.metadata.get(f"tokenizer.ggml.fim_{name}_token_id") for name in ("pre", "suf", "mid")],
    )
    spelled = ([tokenizer.id(text) for text in texts] for texts in SPELLINGS)
    found = next((ids for ids in (said, *spelled) if all(id is not None and 0 <= int(id) < tokenizer.vocab_size for id in ids)), None)
    if found is None:
        return None
    files = ([tokenizer.id(text) for text in texts] for texts in _FILE_SPELLINGS)
    repository, file = next((ids for ids in files if None not in ids), (None, None))
    prefix, suffix, middle = (int(id) for id in found if id is not None)
    return InfillTokens(prefix, suffix, middle, repository, file)


def infill_ids(
    model: Model, before: list[int], after: list[int], param: str, *, begun: Sequence[int] = (), extra: Sequence[tuple[str, str]] = ()
) -> list[int]:
    """The prompt after which a model writes what belongs between two texts (Bavarian et al. 2022, prefix before suffix).

    ``begun`` is how the gap's text begins; ``extra`` are other files, names and texts, that are told of first, as Hui et al. 2024
    do where the model has tokens for that. Raises ApiError 400 where the model has no tokens for it.
    """
    tokens = infill_tokens(model)
    if tokens is None:
        raise ApiError(400, "this model has no tokens for filling in; only models trained for it have", param=param, code="no_infill")
    tokenizer = model.tokenizer

    def plain(text: str) -> list[int]:
        return tokenizer.encode(text, add_special=False)

    context: list[int] = []
    if extra and tokens.repository is not None and tokens.file is not None:
        context = [tokens.repository, *plain("project\n")]
        for name, text in extra:
            context += [tokens.file, *plain(f"{name}\n{text}\n")]
        context += [tokens.file, *plain("file\n")]
    elif extra:
        context = plain("".join(f"{text}\n" for _, text in extra))
    return [*tokenizer.prefix, *context, tokens.prefix, *before, tokens.suffix, *after, tokens.middle, *begun]
