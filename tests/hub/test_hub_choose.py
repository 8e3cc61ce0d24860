"""Names of models, and which files of a repository they mean."""

from __future__ import annotations

import pytest

from heron.errors import HubError
from heron.hub.choose import choices, choose
from heron.hub.names import Name, aliases, parse


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("org/name", Name("org/name")),
        ("Org-1/Na.me_2-GGUF:Q4_K_M", Name("Org-1/Na.me_2-GGUF", "Q4_K_M")),
        ("hf.co/org/name:q8_0", Name("org/name", "q8_0")),
        ("https://huggingface.co/org/name", Name("org/name")),
        ("https://huggingface.co/org/name/", Name("org/name")),
        ("https://huggingface.co/org/name/tree/main", Name("org/name")),
        ("qwen3:0.6b", Name("unsloth/Qwen3-0.6B-GGUF")),
        ("Qwen3:0.6B:q8_0", Name("unsloth/Qwen3-0.6B-GGUF", "q8_0")),
        ("qwen3:0.6b:best", Name("unsloth/Qwen3-0.6B-GGUF", "best")),
        ("qwen3", Name("unsloth/Qwen3-4B-GGUF")),
        ("qwen3:UD-Q4_K_XL", Name("unsloth/Qwen3-4B-GGUF", "UD-Q4_K_XL")),
        *(
            (text, None)
            for text in (
                "name",
                "/org/name",
                "./org/name",
                "../name",
                "org/name/more",
                "org/../name",
                "org/model.gguf",
                "a/b:c:d",
                "",
                "https://huggingface.co/org/name/blob/main/a.gguf",
            )
        ),
    ],
)
def test_names(text: str, name: Name | None) -> None:
    assert parse(text) == name


@pytest.mark.parametrize("text", ["qwen3:7b", "qwen3:best:q8_0", "qwen3:0.6b:q8_0:more"])
def test_a_size_that_an_alias_does_not_have(text: str) -> None:
    with pytest.raises(HubError, match=r"there are 4b, 0.6b"):
        parse(text)


def test_every_alias_is_a_name_and_no_size_is_a_quantization() -> None:
    named = [f"{alias}:{size}" for alias, sizes in aliases().items() for size in sizes]
    assert len(named) > 40 and len({str(parse(name)) for name in named}) == len(named)
    assert all(name == name.lower() for name in named)


@pytest.mark.parametrize(
    ("file", "quantization"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "Q8_0"),
        ("tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00001.gguf", "Q4_K_M"),
        ("Qwen3-4B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("Q4_0/model-IQ2_XXS.gguf", "IQ2_XXS"),
        ("BF16/model.gguf", "BF16"),
        ("fp16/ggml-model.gguf", "F16"),
        ("model-Q4_K_M-imatrix.gguf", "Q4_K_M"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("model-fp16.gguf", "F16"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4"),
        ("gemma-BF16.gguf", "BF16"),
        ("TriLM-TQ1_0.gguf", "TQ1_0"),
        ("model.gguf", "model"),
    ],
)
def test_quantizations_by_their_files(file: str, quantization: str) -> None:
    assert [each.quantization for each in choices([file])] == [quantization]


def test_projectors_and_importance_are_no_models() -> None:
    assert not choices(["mmproj-F16.gguf", "model.mmproj-Q8_0.gguf", "imatrix.gguf", "Qwen3-4B-imatrix.gguf", "model.imatrix.gguf_file"])


def test_the_preferred_one_then_the_next() -> None:
    files = ["m-F16.gguf", "m-IQ1_S.gguf", "m-Q8_0.gguf", "m-Q5_K_M.gguf"]
    assert [each.quantization for each in choices(files)] == ["Q5_K_M", "Q8_0", "F16", "IQ1_S"]
    assert choose(files, None, "org/m").entry == "m-Q5_K_M.gguf"


def test_two_models_in_one_repository_are_told_apart_by_their_files() -> None:
    files = ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"]
    with pytest.raises(HubError, match=r"2 models in Q4_K_M; name one of the files.*a-Q4_K_M.gguf, b-Q4_K_M.gguf"):
        choose(files, None, "org/m")
    assert choose(files, "b-q4_k_m", "org/m").entry == "b-Q4_K_M.gguf"


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    files = ["m-Q4_0.gguf", "old/m-Q4_0.gguf"]
    with pytest.raises(HubError, match=r"name one of the files.*: m-Q4_0.gguf, old/m-Q4_0.gguf"):
        choose(files, "q4_0", "org/m")
    assert choose(files, "old/m-Q4_0.gguf", "org/m").entry == "old/m-Q4_0.gguf"


def test_a_split_model_that_lacks_a_part_is_none() -> None:
    there = ["m-Q4_0-00001-of-00003.gguf", "m-Q4_0-00003-of-00003.gguf"]
    assert not choices(there)
    for wanted in (None, "Q4_0"):
        with pytest.raises(HubError, match=r"org/m has m-Q4_0-00003-of-00003.gguf, but lacks 1 of that model's parts"):
            choose(there, wanted, "org/m")
    assert choose([*there, "m-Q2_K.gguf"], None, "org/m").entry == "m-Q2_K.gguf"


def test_a_folder_beside_gguf_files_has_a_name_too() -> None:
    files = ["config.json", "model.safetensors", "m-Q8_0.gguf"]
    assert choose(files, None, "org/m").entry == "m-Q8_0.gguf"
    assert choose(files, "Safetensors", "org/m").files == ("config.json", "model.safetensors")
    with pytest.raises(HubError, match="no Q4_0; there is Q8_0, safetensors"):
        choose(files, "Q4_0", "org/m")


def test_many_parts_are_counted_in_six_digits_too() -> None:
    parts = [f"model-{n:05}-of-000163.safetensors" for n in range(1, 164)]
    files = ["config.json", "model.safetensors.index.json", *parts]
    assert len(choose([*files, "consolidated.safetensors"], None, "org/m").files) == 165
    with pytest.raises(HubError, match="lacks 1 of"):
        choose(files[:-1], None, "org/m")


def test_a_safetensors_repository_gives_what_is_needed() -> None:
    needed = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "chat_template.jinja"]
    needed += [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "special_tokens_map.json",
    ]
    other = ["README.md", "pytorch_model.bin", "consolidated.safetensors", "onnx/model.onnx", "original/model.safetensors", "tf_model.h5"]
    other += ["model.pth", "original/params.json", "figure.png", ".gitattributes", "training_args.bin", "flax_model.msgpack"]
    choice = choose(needed + other, None, "org/m")
    assert set(choice.files) == set(needed) and choice.entry == ""
    assert not choices(file for file in needed if not file.startswith("model-00002"))


def test_a_sentence_model_keeps_its_pooling() -> None:
    needed = ["config.json", "model.safetensors", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "vocab.txt"]
    assert set(choose([*needed, "openvino/model.xml", "rust_model.ot"], None, "org/m").files) == set(needed)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["config.json", "pytorch_model.bin"], "pickled"),
        (["README.md"], "no GGUF file"),
        ([], "no GGUF file"),
        (["adapter.safetensors"], "no config.json"),
        (["adapter_config.json", "adapter_model.safetensors"], "an adapter, which belongs to another model"),
    ],
)
def test_a_repository_without_a_model(files: list[str], words: str) -> None:
    with pytest.raises(HubError, match=words):
        choose(files, None, "org/m")


def test_a_quantization_of_safetensors_alone() -> None:
    with pytest.raises(HubError, match=r"no Q4_K_M; there is safetensors$"):
        choose(["config.json", "model.safetensors"], "Q4_K_M", "org/m")
