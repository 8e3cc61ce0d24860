"""How byte-level BPE vocabularies cut text into words before merging: a table by ``tokenizer.ggml.pre``.

Each entry holds the regexes of the `tokenizer.json` that was published with the model, applied one after another: what
a regex matches and what lies between its matches are cut apart, and the next regex cuts the parts again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from heron.errors import TokenizerError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreTokenizer:
    """One way to cut text, and the defaults that the GGUF format ties to its name.

    regexes        Oniguruma syntax, applied in turn
    ignore_merges  a word that is a token is that token, whatever the merges say
    add_bos        whether a text begins with the BOS token, unless ``add_bos_token`` says otherwise
    add_sep        whether a text ends with the separator token, unless ``add_sep_token`` says otherwise
    byte_level     tokens spell bytes by GPT-2's table; otherwise they are plain text with U+2581 for a space
    """

    regexes: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False
    add_sep: bool = False
    byte_level: bool = True


_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_PUNCTUATED = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
_SPLIT_LINES = r"[^\n]+|[\n]+"


def _ranges(codes: str) -> str:
    """A character class of hexadecimal code points and ranges of them; written out, they would not survive an editor that normalizes."""
    return "[" + "".join("-".join(chr(int(code, 16)) for code in item.split("-")) for item in codes.split()) + "]"


def _cased(suffix: str, upper: str = _UPPER, lower: str = _LOWER) -> str:
    """Words whose capitals stand in front, in the two forms that GPT-4o's regex has."""
    before = r"[^\r\n\p{L}\p{N}]?"
    return f"{before}{upper}*{lower}+{suffix}|{before}{upper}+{lower}*{suffix}"


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTION}|{_LETTERS}|\p{{N}}{{1,3}}|{_SYMBOLS}[\r\n]*|{_SPACES}"
_QWEN2 = rf"{_CONTRACTION}|{_LETTERS}|\p{{N}}|{_SYMBOLS}[\r\n]*|{_SPACES}"
_QWEN35 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
_GPT4O = rf"{_cased(_CONTRACTION + '?')}|\p{{N}}{{1,3}}|{_SYMBOLS}[\r\n/]*|{_SPACES}"
_TEKKEN = rf"{_cased('')}|\p{{N}}|{_SYMBOLS}[\r\n/]*|{_SPACES}"
_YOUTU = rf"{_cased(_CONTRACTION + '?')}|\p{{N}}|{_SYMBOLS}[\r\n/]*|{_SPACES}"
_KIMI = _cased(_CONTRACTION + "?", _UPPER[:-1] + r"&&[^\p{Han}]]", _LOWER[:-1] + r"&&[^\p{Han}]]")
_CJK = _ranges("4e00-9fa5 3040-309f 30a0-30ff") + "+"
_HAN = _ranges("4e00-9fa5 800-4e00 ac00-d7ff") + "+"
_KOREAN = _ranges("ac00-d7a3 3131-318e") + "+"
_BOPOMOFO = _ranges("3105-312f") + "+"
_WIDE_PUNCTUATION = _ranges("ff01 2026 201c 201d 2018 2019 2014 ff1a ff1b ff0c 3001-303f fe30-fe4f") + "+"
_MARKS = _ranges("21-2f 3a-7e ff01-ff0f ff1a-ff5e 2018-201f 3000-3002") + "+"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_THOUSANDS = r"\d{1,3}(?=(?:\d{3})*\b)"
# The letters of scripts with upper and lower case, as the regex of DeepSeek's first models lists them.
_CASED_LETTERS = _ranges(
    "41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376 377 37b-37d 37f 386 388-38a 38c 38e-3a1 3a3-3f5 3f7-481 "
    "48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba 1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 "
    "1f48-1f4d 1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3 1fd6-1fdb 1fe0-1fec "
    "1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 212a-212d 212f-2134 2139 213c-213f 2145-2149 214e 2183 "
    "2184 2c00-2c7b 2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d a680-a69b a722-a76f a771-a787 a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 "
    "ff21-ff3a ff41-ff5a 10400-1044f 104b0-104d3 104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943"
)
# Scripts that AFMoE's regex keeps apart: Han, kana, Thai, Lao, Khmer, Burmese, Hangul.
_ASIAN = _ranges(
    "4e00-9fff 3400-4dbf f900-faff 3040-309f 30a0-30ff ff65-ff9f 2f00-2fdf e40-e7f e80-eff 1780-17ff 1000-109f aa60-aa7f a9e0-a9ff "
    "ac00-d7af 1100-11ff"
)
_DOUBLINGS = "|".join(rf"\s{{{1 << n}}}(?!\S)" for n in range(9, 1, -1))

_DEFAULT = PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))
_DEEPSEEK3 = PreTokenizer((r"\p{N}{1,3}", _CJK, rf"{_PUNCTUATED}[\r\n]*|{_SPACES}"))
_PLAIN_TEXT = PreTokenizer((_SPLIT_LINES,), byte_level=False)

_GROUPS: tuple[tuple[str, PreTokenizer], ...] = (
    ("default", _DEFAULT),
    (
        "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
        PreTokenizer((_LLAMA3,), ignore_merges=True, add_bos=True),
    ),
    ("dbrx smaug-bpe chatglm-bpe", PreTokenizer((_LLAMA3,))),
    ("glm4 glm5", PreTokenizer((_LLAMA3,), ignore_merges=True)),
    ("jais-2", PreTokenizer((rf"{_LLAMA3.removesuffix(_SPACES)}\s*[\r\n]+|{_DOUBLINGS}|\s{{1,2}}(?!\S)|\s{{1}}",))),
    ("gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert exaone4", PreTokenizer((_GPT2,))),
    ("mpt olmo jais trillion granite-docling", PreTokenizer((_GPT2,))),
    ("jina-v1-en jina-v2-code roberta-bpe", PreTokenizer((_GPT2,), add_sep=True)),
    ("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", PreTokenizer((r"\p{N}", _GPT2))),
    ("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", PreTokenizer((_QWEN2,))),
    ("qwen35", PreTokenizer((_QWEN35,))),
    ("ufakzeka", PreTokenizer((rf"{_LETTERS}|\p{{N}}|{_SYMBOLS}[\r\n]*|{_SPACES}",))),
    ("laguna", PreTokenizer((_SPLIT_LINES, _QWEN2))),
    ("minicpm5", PreTokenizer((r"\p{N}{1,3}", rf"{_CONTRACTION}|{_LETTERS}|\p{{N}}+|{_SYMBOLS}[\r\n]*|{_SPACES}"), ignore_merges=True)),
    ("gpt-4o llama4 kanana2 talkie minimax-m2", PreTokenizer((_GPT4O,))),
    ("granite-embed-multi-97m", PreTokenizer((_GPT4O,), ignore_merges=True)),
    ("tiny_aya cohere2moe", PreTokenizer((_THOUSANDS, _GPT4O))),
    ("tekken", PreTokenizer((_TEKKEN,), ignore_merges=True, add_bos=True)),
    ("youtu", PreTokenizer(("|".join((_KOREAN, _WIDE_PUNCTUATION, _BOPOMOFO, _CJK)), _YOUTU), ignore_merges=True)),
    ("kimi-k2", PreTokenizer((rf"[\p{{Han}}]+|{_KIMI}|\p{{N}}{{1,3}}|{_SYMBOLS}[\r\n]*|{_SPACES}",))),
    ("deepseek-llm", PreTokenizer((r"[\r\n]", rf"\s?{_CASED_LETTERS}+", rf"\s?{_MARKS}", r"\s+$", _HAN, r"\p{N}+"))),
    ("deepseek-coder", PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN, r"\p{N}"))),
    ("deepseek-v3 hunyuan-dense joyai-llm hy_v4", _DEEPSEEK3),
    ("spark2_5", PreTokenizer((r"\p{N}{1,3}", _CJK, rf"{_PUNCTUATED}|[\r\n]|\s+(?!\S)|\s+", r"\p{N}"))),
    ("afmoe", PreTokenizer((r"\p{Nd}{1,3}(?=(?:\p{Nd}{3})*(?!\p{Nd}))", _ASIAN + "+", rf"{_PUNCTUATED}[\r\n]*|{_SPACES}"))),
    ("falcon", PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"))),
    ("bloom poro-chat gpt3-finnish", PreTokenizer((_BLOOM,))),
    ("viking", PreTokenizer((_BLOOM, r"\p{N}"))),
    (
        "bailingmoe bailingmoe2 llada-moe",
        PreTokenizer((rf"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}+|\p{{N}}|{_SYMBOLS}+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",)),
    ),
    ("seed-coder", PreTokenizer((rf"{_CONTRACTION}|{_LETTERS}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",))),
    (
        "exaone-moe",
        PreTokenizer(
            (
                rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}|{_SYMBOLS}[\r\n/]?"
                r"|\s*[\r\n]|\s+(?!\S)|\s+",
            )
        ),
    ),
    ("superbpe", PreTokenizer((r"\p{N}+", r"(?=(\d{3})+(?!\d))"))),
    (
        "chameleon",
        PreTokenizer(
            (r"<sentinel:[0-9]+>", r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", _GPT2),
            add_bos=True,
        ),
    ),
    ("gemma4 granite-embed-multi-311m", PreTokenizer((_SPLIT_LINES,), byte_level=False, add_bos=True)),
    ("sarvam-moe", _PLAIN_TEXT),
)

PRE_TOKENIZERS: dict[str, PreTokenizer] = {name: pre for names, pre in _GROUPS for name in names.split()}


def pre_tokenizer(name: str | None) -> PreTokenizer:
    """The entry of that name; without a name, the one that GGUF calls "default", with a warning.

    Raises TokenizerError for a name that is not in the table: a wrong guess would spoil every answer without a sign.
    """
    if name is None:
        log.warning("the file does not say how its vocabulary cuts words (tokenizer.ggml.pre); answers may be worse than they should be")
        return _DEFAULT
    try:
        return PRE_TOKENIZERS[name]
    except KeyError:
        raise TokenizerError(f"tokenizer.ggml.pre is {name!r}, which is not known here; update Heron, or convert the model again") from None
