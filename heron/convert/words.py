"""Which entry of the table of pre-tokenizers cuts text as a tokenizer.json does: GGUF files name one, and hold no regex.

The steps are compared as regexes first, and where they are spelled in another way, by the words that they make of texts on which any
two entries of the table differ that ever do.
"""

from __future__ import annotations

import json
import logging
from functools import cache
from typing import Any

from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Library

from heron.errors import UnsupportedError
from heron.text.pretokenizers import PRE_TOKENIZERS, PreTokenizer

log = logging.getLogger(__name__)

#: Where published regexes part: contractions, runs of digits, spaces, line ends, marks, case, punctuation of several scripts.
PROBES = (
    "'llama 'really 'steady 'more 'detail a  1   23    456 (  7)",
    "It's we'LL they'Ve 'tis I'd'VE don't'S",
    "1 12 123 1234 12345 123456 1234567 3.14 1,000,000 ٣٤٥٦ Ⅻ ½ ²³¹",
    "  two   three    four\t\ttabs \t mixed  \n\n\n lines\r\n\r\n  end   ",
    "\n\n  \n a\n\n\nb \n\n c\r\r\nd\n  \n  e" + " " * 40 + "f" + " " * 600 + "g",
    "camelCase PascalCase HTTPServer XMLHttpRequest2 iPhone15Pro ABCdefGHI",
    "foo_bar(x)->y[0] += {a: b}; // http://a.b/c?d=e&f#g\n/* x */ !!?? ... --- ===\n/path//to",
    "café naïve e\u0301 n\u0303o größe ﬁ ǅ ʰ ㅎㅏㄴ 한국어 안녕하세요 ㄱㄴ",
    "漢字かなカナ 世界，你好。「引用」、！？：；…—“”‘’ 中文abc中文123 ｶﾅ ㄅㄆㄇ 㐀 豈 ⼀",
    "привет МИР Привет ёж ქართული Ⴀ Ꭰꭰ ὈΔΥΣΣΕΎΣ նայ ไทย ลาว ខ្មែរ မြန်မာ हिन्दी நான் عربى ۔، ،",
    "🦜🎉👩‍👩‍👧‍👦 $€£¥ + < = > ^ ~ | ` ´ ¨ © ® ™ ← ∑ ∞",
    "a\u00a0b\u2003c\u3000d\u200be\ufefff \u00a0 x\u0085y\u2028z\x0b\x0c",
    "a!b \"c\" #d$ %e &f *g @h \\i ^j _k .l ,m (n )o !P ?Q .R's 'word 'S",
    "1234567890123 12.345.678 x1y22z333 007a 1٣2 12345678 a1234b ¼½ IMGIMGABCZ <sentinel:12>",
    "…。，、।۔،) a…b c。d e，f | g|h (i\t(j) the  cat. the ,cat ",
    "x\n\n\t y\n \n z  .\n\n  ;\r\n;;\n\n//\n\n/ \n!\n",
)


def name_of(described: Any, ignore_merges: bool, where: str) -> str:
    """The name under which ``tokenizer.ggml.pre`` has what a tokenizer.json describes as its pre-tokenizer.

    Raises UnsupportedError where no entry cuts text so: any other would spoil every answer without a sign.
    """
    regexes = _regexes(described)
    fitting = [name for name, pre in PRE_TOKENIZERS.items() if pre.byte_level and pre.regexes == regexes]
    if not fitting:
        words = cuts(_built(described))
        fitting = [name for name, pre in PRE_TOKENIZERS.items() if pre.byte_level and _cuts_of(name) == words]
    if not fitting:
        raise UnsupportedError(
            f"{where}: no name is known for the way in which it cuts words, and GGUF files hold names only; known are the ways of "
            f"{', '.join(sorted({pre.regexes: name for name, pre in PRE_TOKENIZERS.items()}.values()))}"
        )
    exact = [name for name in fitting if PRE_TOKENIZERS[name].ignore_merges == ignore_merges]
    if not exact:
        log.warning("%s: no name of GGUF's says both how it cuts words and that ignore_merges is %s", where, ignore_merges)
    return (exact or fitting)[0]


def _regexes(described: Any) -> tuple[str, ...]:
    """The regexes by which the steps cut, as far as they are spelled out."""
    taken = steps(described)
    found = [step["pattern"]["Regex"] for step in taken if step.get("type") == "Split" and "Regex" in step.get("pattern", {})]
    whole = all(step.get("type") in ("Split", "ByteLevel") for step in taken) and len(found) == len(taken) - 1
    last = taken[-1]
    isolated = all(step.get("behavior", "Isolated") == "Isolated" and not step.get("invert") for step in taken)
    plain = whole and isolated and last.get("type") == "ByteLevel" and not last.get("use_regex", True) and not last.get("add_prefix_space")
    return tuple(found) if plain else ()


def steps(described: Any) -> list[dict[str, Any]]:
    """What a pre-tokenizer, one or a sequence of several, does one after another."""
    described = described or {}
    return list(described.get("pretokenizers", [described]))


def _built(described: Any) -> pre_tokenizers.PreTokenizer:
    bare = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}}
    return Library.from_str(json.dumps({**bare, "pre_tokenizer": described})).pre_tokenizer


def cuts(cutter: pre_tokenizers.PreTokenizer) -> list[list[str]]:
    """The words that it makes of each probe."""
    return [[word for word, _ in cutter.pre_tokenize_str(text)] for text in PROBES]


@cache
def _cuts_of(name: str) -> list[list[str]]:
    return cuts(cutter(PRE_TOKENIZERS[name]))


def cutter(pre: PreTokenizer) -> pre_tokenizers.PreTokenizer:
    """An entry of the table as the library's steps."""
    taken: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.Split(Regex(regex), "isolated") for regex in pre.regexes]
    if pre.byte_level:
        taken.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre_tokenizers.Sequence(taken)
