"""A folder's tokenizer, written to a GGUF file, cuts texts as it did in the folder; and llama.cpp cuts them so too."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from tokenizer_folders import FOLDERS, byte_level, texts
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers

from heron.checkpoint.gguf_writer import write_gguf
from heron.convert.vocabulary import vocabulary
from heron.convert.words import cuts, cutter, name_of
from heron.errors import TokenizerError, UnsupportedError
from heron.text.pretokenizers import PRE_TOKENIZERS
from heron.text.tokenizer import Tokenizer

SHARED = Path(__file__).resolve().parents[3] / "shared"
TEXTS = texts(SHARED if (SHARED / "data").is_dir() else None)


def written(folder: Path, path: Path, further: int = 3) -> Path:
    """The GGUF file of the folder's vocabulary, with a few rows more than it has tokens."""
    metadata = vocabulary(folder, Tokenizer.from_folder(folder).vocab_size + further)
    write_gguf(path, {"general.architecture": "llama", **metadata}, {})
    return path


#: Texts that the kinds of GGUF's vocabularies read in another way than those of folders do, which no key can change.
APART: dict[str, tuple[str, ...]] = {
    "unigram": ("▁", "<unk>"),  # a mark is a space to SentencePiece, and a mark to the library, which takes <unk> for text too
    "tokenizer.model": ("<user>", "<s>", "<|end|>", "</s>"),  # a space is put before the first word only, and not behind each such token
}


def check(folder: Path, path: Path, apart: tuple[str, ...] = ()) -> None:
    theirs, ours = Tokenizer.from_folder(folder), Tokenizer.from_file(written(folder, path))
    for text in TEXTS:
        if any(token in text for token in apart):
            continue
        for parse in (False, True):
            ids = theirs.encode(text, parse_special=parse)
            assert ours.encode(text, parse_special=parse) == ids, text
        assert ours.decode(ids) == theirs.decode(ids)
        assert ours.decode(ids, skip_special=True) == theirs.decode(ids, skip_special=True)
    assert ours.bos in (theirs.bos, theirs.id("[CLS]"))
    assert (ours.eos, ours.eos_ids) == (theirs.eos, theirs.eos_ids)
    assert ours.vocab_size == theirs.vocab_size + 3
    assert (ours.chat_template, ours.chat_templates) == (theirs.chat_template, theirs.chat_templates)
    assert [ours.is_special(id) for id in range(theirs.vocab_size)] == [theirs.is_special(id) for id in range(theirs.vocab_size)]
    assert [ours.token_bytes(id) for id in range(theirs.vocab_size)] == [theirs.token_bytes(id) for id in range(theirs.vocab_size)]


@pytest.mark.parametrize("name", FOLDERS)
def test_the_same_ids(name: str, tmp_path: Path) -> None:
    check(FOLDERS[name](tmp_path), tmp_path / "written.gguf", APART.get(name, ()))


def test_a_published_folder(shared: Path, tmp_path: Path) -> None:
    check(shared / "data/tinystories-656K", tmp_path / "written.gguf")


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_llama_cpp_cuts_alike(name: str, tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    path = written(FOLDERS[name](tmp_path), tmp_path / "written.gguf")
    ours, theirs = Tokenizer.from_file(path), llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    # BERT gives up on words of more than 100 characters, and brings Hangul into letters; llama.cpp keeps the first letter of each syllable.
    apart = re.compile(r"\S{101}|[가-힣]" if name == "word pieces" else r"(?!)")
    for text in filter(None, TEXTS):
        if not apart.search(text):
            assert theirs.tokenize(text.encode(), add_bos=True, special=False) == ours.encode(text), text
            assert theirs.tokenize(text.encode(), add_bos=True, special=True) == ours.encode(text, parse_special=True), text


def test_every_entry_is_found_by_its_words() -> None:
    """The regexes spelled in another way: each is told from all that cut in other ways."""
    for name, pre in PRE_TOKENIZERS.items():
        if pre.byte_level:
            steps = [
                {"type": "Split", "pattern": {"Regex": f"(?:{regex})"}, "behavior": "Isolated", "invert": False} for regex in pre.regexes
            ]
            last = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
            found = name_of({"type": "Sequence", "pretokenizers": [*steps, last]}, pre.ignore_merges, "here")
            same = {name, *(["qwen2"] if name.startswith(("bailing", "llada")) else [])}  # spelled in other ways, cut alike
            assert PRE_TOKENIZERS[found].regexes in [PRE_TOKENIZERS[each].regexes for each in same]
            assert PRE_TOKENIZERS[found].ignore_merges == pre.ignore_merges


def test_probes_tell_entries_apart() -> None:
    distinct = {pre.regexes: pre for pre in PRE_TOKENIZERS.values() if pre.byte_level}
    alike = [{a.regexes, b.regexes} for a, b in itertools.combinations(distinct.values(), 2) if cuts(cutter(a)) == cuts(cutter(b))]
    assert alike == [{PRE_TOKENIZERS["qwen2"].regexes, PRE_TOKENIZERS["bailingmoe"].regexes}]


def test_unknown_words(tmp_path: Path) -> None:
    folder = byte_level(tmp_path)
    library = Library.from_file(str(folder / "tokenizer.json"))
    library.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("a", "isolated"), library.pre_tokenizer])
    library.save(str(folder / "tokenizer.json"))
    with pytest.raises(UnsupportedError, match="cuts words"):
        vocabulary(folder, 700)


def test_unknown_kinds(tmp_path: Path) -> None:
    Library(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UnsupportedError, match="WordLevel"):
        vocabulary(tmp_path, 2)


def test_more_tokens_than_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = byte_level(tmp_path)
    size = Tokenizer.from_folder(folder).vocab_size
    assert len(vocabulary(folder, size - 1)["tokenizer.ggml.tokens"]) == size - 1
    assert "are left out" in caplog.text


def test_no_tokenizer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert vocabulary(tmp_path, 10) == {}
    assert "no tokenizer.json or tokenizer.model" in caplog.text


def test_several_templates_and_ends(tmp_path: Path) -> None:
    folder = byte_level(tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    templates = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": templates}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 6]}))
    tokenizer = Tokenizer.from_file(written(folder, tmp_path / "written.gguf"))
    assert (tokenizer.chat_template, dict(tokenizer.chat_templates)) == ("a", {"tool_use": "b"})
    assert {5, 6} < tokenizer.eos_ids


def test_two_tokens_in_front(tmp_path: Path) -> None:
    folder = byte_level(tmp_path)
    described = json.loads((folder / "tokenizer.json").read_text())
    single = described["post_processor"]["single"]
    described["post_processor"]["single"] = [single[0], *single]
    (folder / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(TokenizerError, match="begin with 2 tokens"):
        vocabulary(folder, 700)
