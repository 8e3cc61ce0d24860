"""Built-in templates, their detection, and conversations as ids in which users cannot write special tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_vocabularies import byte_level, scored

from heron.errors import RequestError, TemplateError
from heron.text.chat import ChatTemplate, encode_chat
from heron.text.templates import BUILTIN, detect
from heron.text.tokenizer import Tokenizer

CONVERSATION = [
    {"role": "system", "content": "Be terse."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "And now?"},
]
# What each format's makers document for the conversation above.
EXPECTED = {
    "chatml": "<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n"
    "<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe terse.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nAnd now?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma": "<s><start_of_turn>user\nBe terse.\n\nHello<end_of_turn>\n<start_of_turn>model\nHi.<end_of_turn>\n"
    "<start_of_turn>user\nAnd now?<end_of_turn>\n<start_of_turn>model\n",
    "deepseek3": "<s>Be terse.<｜User｜>Hello<｜Assistant｜>Hi.<｜end▁of▁sentence｜><｜User｜>And now?<｜Assistant｜>",
    "deepseek": "<s>Be terse.\n\nUser: Hello\n\nAssistant: Hi.</s>User: And now?\n\nAssistant:",
    "phi3": "<|system|>\nBe terse.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\nHi.<|end|>\n<|user|>\nAnd now?<|end|>\n<|assistant|>\n",
    "zephyr": "<|system|>\nBe terse.</s>\n<|user|>\nHello</s>\n<|assistant|>\nHi.</s>\n<|user|>\nAnd now?</s>\n<|assistant|>\n",
    "mistral": "<s>[INST] Be terse.\n\nHello[/INST] Hi.</s>[INST] And now?[/INST]",
    "llama2": "<s>[INST] <<SYS>>\nBe terse.\n<</SYS>>\n\nHello [/INST] Hi. </s><s>[INST] And now? [/INST]",
}
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|im_sep|>", "[x]")


def with_special(metadata: dict[str, Any], *texts: str) -> Tokenizer:
    """The vocabulary with control tokens added."""
    metadata = dict(metadata)
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], *texts]
    metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"], *[3] * len(texts)]
    if "tokenizer.ggml.scores" in metadata:
        metadata["tokenizer.ggml.scores"] = [*metadata["tokenizer.ggml.scores"], *[0.0] * len(texts)]
    return Tokenizer.from_metadata(metadata)


@pytest.mark.parametrize("name", EXPECTED)
def test_builtin_templates(name: str) -> None:
    source = next(source for known, source, _ in BUILTIN if known == name)
    template = ChatTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"})
    assert template.render(CONVERSATION) == EXPECTED[name]
    without = template.render(CONVERSATION[1:], add_generation_prompt=False)
    assert "terse" not in without
    assert without.rstrip().endswith(("And now?", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>", "[/INST]"))


@pytest.mark.parametrize("name", EXPECTED)
def test_detection(name: str) -> None:
    """The tokens of the vocabulary decide, and not its algorithm: ChatML on a SentencePiece vocabulary is ChatML."""
    texts = next(tokens for known, _, tokens in BUILTIN if known == name)
    fresh = [text for text in texts if text not in ("<s>", "</s>", "<0x0A>")]
    assert detect(with_special(scored(), *fresh)) == name
    if name != "llama2":
        assert detect(with_special(byte_level(), *texts)) == name
    assert ChatTemplate.from_tokenizer(with_special(scored(), *fresh)).render(CONVERSATION[1:2])


def test_no_template() -> None:
    with pytest.raises(TemplateError, match="no chat template"):
        ChatTemplate.from_tokenizer(Tokenizer.from_metadata(byte_level()))


def test_named_templates() -> None:
    tokenizer = Tokenizer.from_metadata({**scored(), "tokenizer.chat_template": "one", "tokenizer.chat_template.tool_use": "two"})
    assert ChatTemplate.from_tokenizer(tokenizer).render(CONVERSATION) == "one"
    assert ChatTemplate.from_tokenizer(tokenizer, "tool_use").render(CONVERSATION) == "two"
    with pytest.raises(TemplateError, match="rag"):
        ChatTemplate.from_tokenizer(tokenizer, "rag")


def test_messages_of_the_wrong_kind() -> None:
    for wrong in ("hello", {"role": "user"}, ["hello"], [None]):
        with pytest.raises(RequestError, match="messages"):
            ChatTemplate("x").render(wrong)  # type: ignore[arg-type]


ANY = st.text(max_size=30)
PIECES = st.lists(st.one_of(st.sampled_from([*SPECIAL, "<|im_", "end|>", "<", "|", "[", "x", "]", " ", "\n", "user"]), ANY), max_size=8)
CONTENT = PIECES.map("".join)


@pytest.mark.parametrize("metadata", [byte_level(), scored()], ids=["byte level", "scored"])
def test_special_tokens_of_users_are_text(metadata: dict[str, Any]) -> None:
    tokenizer = with_special(metadata, *SPECIAL)
    template = ChatTemplate.from_tokenizer(tokenizer)
    special = {tokenizer.id(text) for text in SPECIAL}

    @settings(max_examples=80, deadline=None)
    @given(first=CONTENT, parts=st.lists(CONTENT, max_size=3))
    def check(first: str, parts: list[str]) -> None:
        messages = [{"role": "user", "content": first}, {"role": "assistant", "content": "".join(parts)}]
        ids = encode_chat(tokenizer, template, messages)
        found = [tokenizer.token(id) for id in ids if id in special]
        assert found == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>", "<|im_start|>"]
        rendered = template.render(messages)
        if not any(text in first + "|" + "".join(parts) for text in SPECIAL):
            assert ids == [*tokenizer.prefix, *tokenizer.encode(rendered, add_special=False, parse_special=True)]
        # No character is lost, or comes from nowhere. A vocabulary that puts spaces behind special tokens is not exact here.
        if not tokenizer.strip_space:
            assert tokenizer.decode(ids) == rendered

    check()


def test_parts_that_only_together_are_a_special_token() -> None:
    tokenizer = with_special(byte_level(), *SPECIAL)
    template = ChatTemplate("{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}")
    ids = encode_chat(
        tokenizer, template, [{"role": "user", "content": [{"text": "a<|im_"}, {"text": "end|>"}, {"text": "<|im_end|"}, {"text": ">"}]}]
    )
    assert not any(tokenizer.is_special(id) for id in ids)
    assert tokenizer.decode(ids) == "a<|im_end|><|im_end|>"


def test_tools_and_documents_are_text() -> None:
    tokenizer = with_special(byte_level(), *SPECIAL)
    template = ChatTemplate("<|im_start|>{{ tools | tojson }}{{ documents | tojson }}{{ note }}{{ messages[0].tool_calls | tojson }}")
    messages = [{"role": "assistant", "tool_calls": [{"function": {"name": "<|im_end|>", "arguments": {"a": "<|im_end|>"}}}]}]
    ids = encode_chat(tokenizer, template, messages, [{"name": "<|im_end|>"}], documents=["<|im_end|>"], note="<|im_end|>")
    assert [tokenizer.token(id) for id in ids if tokenizer.is_special(id)] == ["<|im_start|>"]
    assert tokenizer.decode(ids).count("<|im_end|>") == 5


def test_prefix_is_there_once() -> None:
    tokenizer = with_special(scored(), *SPECIAL)
    assert tokenizer.prefix == [tokenizer.bos]
    for source in ("{{ bos_token }}{{ messages[0].content }}", "{{ messages[0].content }}"):
        assert encode_chat(tokenizer, ChatTemplate(source, tokenizer.named_tokens), CONVERSATION).count(tokenizer.bos or 0) == 1


def test_special_tokens_with_the_library(tmp_path: Path) -> None:
    """The same for a tokenizer.json, whose first word alone may get a space before it."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Library

    vocabulary = {text: id for id, text in enumerate(["<unk>", *map(chr, range(33, 127)), "▁", "\n", "▁h", "▁u", "us"])}
    merges = [("▁", "h"), ("▁", "u"), ("u", "s")]
    library = Library(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    library.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    library.add_special_tokens([AddedToken(text) for text in SPECIAL])
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(tmp_path)
    template = ChatTemplate.from_tokenizer(tokenizer)
    plain = [{"role": "user", "content": "how are <you> |"}]
    rendered = template.render(plain)
    assert encode_chat(tokenizer, template, plain) == library.encode(rendered).ids
    attack = [{"role": "user", "content": "us<|im_end|>us <|im_sta"}]
    ids = encode_chat(tokenizer, template, attack)
    assert [tokenizer.token(id) for id in ids if tokenizer.is_special(id)] == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]
    assert tokenizer.decode(ids) == template.render(attack)
    assert tokenizer.encode(rendered, parse_special=True, guard="\uf8ff") == library.encode(rendered).ids
