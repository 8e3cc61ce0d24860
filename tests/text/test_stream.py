"""Streamed text: whole characters, no beginning of a stop string, and in the end what decode gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_vocabularies import TEXT, byte_level, metadata_of, scored, trained

from heron.errors import RequestError
from heron.text.stream import Detokenizer, StopStrings
from heron.text.tokenizer import Tokenizer

# A token of half a character, a control token, and a user-defined one among the trained ones.
WITH_MORE: dict[str, Any] = byte_level()
WITH_MORE["tokenizer.ggml.tokens"] = [*WITH_MORE["tokenizer.ggml.tokens"], "<|end|>", "Ω"]
WITH_MORE["tokenizer.ggml.token_type"] = [*WITH_MORE["tokenizer.ggml.token_type"], 3, 4]
VOCABULARIES = {"byte level": WITH_MORE, "scored": scored(), "unigram": metadata_of(trained("unigram", size=400))}


@pytest.mark.parametrize("metadata", VOCABULARIES.values(), ids=VOCABULARIES.keys())
def test_stream_equals_decode(metadata: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_metadata(metadata)

    @settings(max_examples=150, deadline=None)
    @given(ids=st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40), skip=st.booleans())
    def check(ids: list[int], skip: bool) -> None:
        stream = Detokenizer(tokenizer, skip_special=skip)
        assert "".join([*map(stream.push, ids), stream.finish()]) == tokenizer.decode(ids, skip_special=skip)

    check()


@pytest.mark.parametrize("metadata", VOCABULARIES.values(), ids=VOCABULARIES.keys())
def test_no_half_characters(metadata: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_metadata(metadata)
    for text in (*TEXT[:3], "🦜🎉🏴󠁧󠁢󠁥󠁮󠁧󠁿 ɸ 한 \U0010ffff", "x"):
        stream = Detokenizer(tokenizer)
        pieces = list(map(stream.push, tokenizer.encode(text, add_special=False)))
        assert not any("\ufffd" in piece for piece in pieces)
        assert stream.finish() == ""
        if metadata["tokenizer.ggml.model"] != "t5":  # whose normalization does not give the same text back
            assert "".join(pieces) == text


def test_leading_space() -> None:
    tokenizer = Tokenizer.from_metadata(scored())
    ids = tokenizer.encode("the fox", add_special=False)
    assert Detokenizer(tokenizer).push(ids[0]).startswith("t")
    assert Detokenizer(tokenizer, continues=True).push(ids[0]).startswith(" t")
    assert tokenizer.decode(ids) == "the fox"
    assert tokenizer.decode([tokenizer.bos or 0, *ids]) == "<s> the fox"
    assert tokenizer.decode([tokenizer.bos or 0, *ids], skip_special=True) == "the fox"


def test_ids_outside_the_vocabulary() -> None:
    tokenizer = Tokenizer.from_metadata(scored())
    for id in (-1, tokenizer.vocab_size, 1 << 40):
        for use in (Detokenizer(tokenizer).push, Detokenizer(tokenizer, skip_special=True).push, tokenizer.token, tokenizer.is_special):
            with pytest.raises(RequestError, match=str(id)):
                use(id)
        with pytest.raises(RequestError, match=str(id)):
            tokenizer.decode([id])


SOME = st.text("ab\n#", min_size=0, max_size=4)


@settings(max_examples=500)
@given(pieces=st.lists(SOME, max_size=12), stops=st.lists(SOME, max_size=3))
def test_stop_strings(pieces: list[str], stops: list[str]) -> None:
    stream = StopStrings(stops)
    out, seen = "", ""
    for piece in pieces:
        seen += piece
        text, stopped = stream.push(piece)
        out += text
        hits = [seen.find(stop) for stop in stops if stop and stop in seen]
        assert stopped == bool(hits)
        if stopped:
            assert out == seen[: min(hits)]
            assert stream.push("a") == ("", True)
            assert stream.finish() == ""
            return
        # All is emitted but the longest end that may become a stop string.
        held = seen[len(out) :]
        assert seen.startswith(out)
        longest = max((n for n in range(len(seen) + 1) if any(stop.startswith(seen[len(seen) - n :]) for stop in stops if stop)), default=0)
        assert len(held) == longest
    assert out + stream.finish() == seen


def test_first_stop_of_several() -> None:
    stream = StopStrings(["User:", "\n\n"])
    assert stream.push("Hello\n") == ("Hello", False)
    assert stream.push("U") == ("\n", False)
    assert stream.push("ser: x\n\n") == ("", True)
    assert stream.found == "User:"


def test_recorded_vocabularies(shared: Path) -> None:
    for name in ("llama-spm", "falcon"):
        tokenizer = Tokenizer.from_file(shared / f"data/vocabs/ggml-vocab-{name}.gguf")
        for text in ("Hello  wörld\n\n", " 🦜 leading", "ﷺ နည်း 3.14"):
            ids = tokenizer.encode(text, add_special=False)
            stream = Detokenizer(tokenizer)
            assert "".join(map(stream.push, ids)) == tokenizer.decode(ids) == text
