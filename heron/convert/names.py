"""What transformers calls the tensors that GGUF files name, by ``model_type``.

Names are those under which transformers saves a model. Most families took Llama's; each of the others has a table of what it calls
otherwise. A name is given back only if `NameMap` makes of it the GGUF name that it was made for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from heron.checkpoint.hf_names import NameMap
from heron.errors import UnsupportedError

_LLAMA: Mapping[str, str] = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps.E": "mlp.experts.E.gate_proj",
    "ffn_up_exps.E": "mlp.experts.E.up_proj",
    "ffn_down_exps.E": "mlp.experts.E.down_proj",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}

_OF_GPT2 = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "block": "transformer.h",
}
_OF_BLOOM = {
    "token_embd": "transformer.word_embeddings",
    "token_embd_norm": "transformer.word_embeddings_layernorm",
    "output_norm": "transformer.ln_f",
    "block": "transformer.h",
    "attn_qkv": "self_attention.query_key_value",
    "attn_output": "self_attention.dense",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}

_OF_DEEPSEEK = {
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj",
    "exp_probs_b": "mlp.gate.e_score_correction",
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_experts.down_proj",
}

#: What a family calls otherwise; "block" is what all tensors of a layer begin with.
_OTHERWISE: Mapping[str, Mapping[str, str]] = {
    "llama": {},
    "mistral": {},
    "mixtral": {
        "ffn_gate_inp": "block_sparse_moe.gate",
        "ffn_gate_exps.E": "block_sparse_moe.experts.E.w1",
        "ffn_up_exps.E": "block_sparse_moe.experts.E.w3",
        "ffn_down_exps.E": "block_sparse_moe.experts.E.w2",
    },
    "qwen2": {},
    "qwen2_moe": {},
    "qwen3": {},
    "qwen3_moe": {},
    "gemma": {},
    "gemma2": {"ffn_norm": "pre_feedforward_layernorm"},
    "gemma3_text": {"ffn_norm": "pre_feedforward_layernorm"},
    "granite": {},
    "olmo2": {},
    "olmo3": {},
    "olmoe": {},
    "smollm3": {},
    "ernie4_5": {},
    "exaone4": {},
    "phi3": {"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"},
    "glm4": {
        "ffn_up": "mlp.gate_up_proj",
        "post_attention_norm": "post_self_attn_layernorm",
        "post_ffw_norm": "post_mlp_layernorm",
    },
    "starcoder2": {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
    "phi": {"output_norm": "model.final_layernorm", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2", "attn_output": "self_attn.dense"},
    "nemotron": {},
    "stablelm": {"attn_q_norm.E": "self_attn.q_layernorm.norms.E", "attn_k_norm.E": "self_attn.k_layernorm.norms.E"},
    "cohere": {},
    "cohere2": {},
    "gpt_oss": {
        "ffn_gate_inp": "mlp.router",
        "attn_sinks": "self_attn.sinks",
        "ffn_gate_up_exps": "mlp.experts.gate_up_proj",
        "ffn_down_exps": "mlp.experts.down_proj",
    },
    "gpt2": {
        **_OF_GPT2,
        "attn_norm": "ln_1",
        "ffn_norm": "ln_2",
        "attn_qkv": "attn.c_attn",
        "attn_output": "attn.c_proj",
        "ffn_up": "mlp.c_fc",
        "ffn_down": "mlp.c_proj",
    },
    "gpt_neox": {
        "token_embd": "gpt_neox.embed_in",
        "output_norm": "gpt_neox.final_layer_norm",
        "output": "embed_out",
        "block": "gpt_neox.layers",
        "attn_qkv": "attention.query_key_value",
        "attn_output": "attention.dense",
        "ffn_up": "mlp.dense_h_to_4h",
        "ffn_down": "mlp.dense_4h_to_h",
    },
    "bloom": _OF_BLOOM,
    "deepseek_v2": _OF_DEEPSEEK,
    "deepseek_v3": _OF_DEEPSEEK,
}

#: Whole names without ".weight", and with their own word for a bias.
_BARE = {
    "mlp.gate.e_score_correction.bias": "mlp.gate.e_score_correction_bias",
    "self_attn.sinks.weight": "self_attn.sinks",
    "mlp.experts.gate_up_proj.weight": "mlp.experts.gate_up_proj",
    "mlp.experts.gate_up_proj.bias": "mlp.experts.gate_up_proj_bias",
    "mlp.experts.down_proj.weight": "mlp.experts.down_proj",
    "mlp.experts.down_proj.bias": "mlp.experts.down_proj_bias",
}


def hf_name(name: str, model_type: str, forward: NameMap) -> str:
    """The name of a tensor, named as GGUF names it in HF's layout. Raises UnsupportedError where the family has none."""
    table = {**_LLAMA, "block": "model.layers", **_OTHERWISE.get(model_type, {})}
    layer = re.match(r"blk\.(\d+)\.", name)
    stem, _, kind = name[layer.end() if layer else 0 :].rpartition(".")
    numbered = re.search(r"(?<=\.)\d+$", stem)  # an expert's, or a head's norm
    theirs = table.get(stem[: numbered.start()] + "E" if numbered else stem)
    if theirs is not None:
        theirs = re.sub(r"\.E\b", f".{numbered[0]}", theirs) if numbered else theirs
        whole = _BARE.get(f"{theirs}.{kind}", f"{theirs}.{kind}")
        whole = f"{table['block']}.{layer[1]}.{whole}" if layer else whole
        if forward(whole) == name:
            return whole
    raise UnsupportedError(f"the tensor {name!r} has no name in folders of {model_type!r} that is known here; keep the GGUF file")


def known(model_type: str) -> bool:
    return model_type in _OTHERWISE
