"""Quantized matrices as libraries store them, written from their published layouts, and what they mean by definition.

A packer takes a matrix [out, in] and gives the tensors that it is stored in, suffix -> tensor, and the numbers that they stand for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Stored = dict[str, torch.Tensor]
Packer = Callable[[Floats, np.random.Generator], tuple[Stored, Floats]]

F16, BF16, F32 = torch.float16, torch.bfloat16, torch.float32
E4M3 = torch.float8_e4m3fn


def words(codes: NDArray[Any], bits: int) -> torch.Tensor:
    """Codes [n, ...] as one string of bits along the first axis, lowest first, in int32 [n bits / 32, ...]."""
    string = (codes.astype(np.int64)[:, None] >> np.arange(bits).reshape(-1, *[1] * (codes.ndim - 1)) & 1).reshape(-1, *codes.shape[1:])
    string = np.concatenate([string, np.zeros((-len(string) % 32, *codes.shape[1:]), np.int64)]).reshape(-1, 32, *codes.shape[1:])
    whole = (string << np.arange(32).reshape(32, *[1] * (codes.ndim - 1))).sum(1)
    return torch.from_numpy(np.ascontiguousarray(whole.astype(np.uint32)).view(np.int32))


def as_stored(values: NDArray[Any], dtype: torch.dtype) -> tuple[torch.Tensor, Floats]:
    """Numbers in a type, and what they have become."""
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(dtype)
    return tensor, tensor.float().numpy()


def grouped(w: Floats, bits: int, group: int, symmetric: bool, index: NDArray[Any], dtype: torch.dtype = F16):  # type: ignore[no-untyped-def]
    """(scales as stored, scales [out, G], zeros [out, G], codes [out, in]) of columns in the groups that ``index`` names."""
    count, top = int(index.max()) + 1, (1 << bits) - 1
    low = np.stack([w[:, index == g].min(1) for g in range(count)], 1)
    high = np.stack([w[:, index == g].max(1) for g in range(count)], 1)
    if symmetric:
        stored, scales = as_stored(np.maximum(-low, high) * 2 / top, dtype)
        zeros = np.full(scales.shape, (top + 1) // 2)
    else:
        stored, scales = as_stored((high - low) / top, dtype)
        zeros = np.clip(np.round(-low / scales), 1, top)
    codes = np.clip(np.round(w / scales[:, index]) + zeros[:, index], 0, top).astype(np.int64)
    return stored, scales, zeros.astype(np.int64), codes


def gptq(bits: int, group: int, *, symmetric: bool = False, act_order: bool = False, version: int = 1) -> Packer:
    def pack(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
        width = w.shape[1]
        index = np.arange(width) // (group if group > 0 else width)
        if act_order:  # the same order for all matrices with the same input
            index = index[np.random.default_rng(width).permutation(width)]
        stored, scales, zeros, codes = grouped(w, bits, group, symmetric, index)
        less = 1 if version == 1 else 0
        tensors = {
            "qweight": words(codes.T, bits),
            "qzeros": words((zeros - less) & ((1 << bits) - 1), bits).T.contiguous(),
            "scales": stored.T.contiguous(),
            "g_idx": torch.from_numpy(index.astype(np.int32)),
        }
        return tensors, (scales[:, index] * (codes - zeros[:, index])).astype(np.float32)

    return pack


def _awq_words(values: NDArray[Any]) -> torch.Tensor:
    """[n, out] packed along the output: the k-th four bits of a word hold its column 0, 2, 4, 6, 1, 3, 5, 7."""
    columns = values.reshape(len(values), -1, 8)[:, :, [0, 2, 4, 6, 1, 3, 5, 7]]
    return words(columns.reshape(len(values), -1).T, 4).T.contiguous()


def awq(version: str, group: int) -> Packer:
    def pack(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
        index = np.arange(w.shape[1]) // group
        stored, scales, zeros, codes = grouped(w, 4, group, False, index)
        if version == "gemm":
            tensors = {"qweight": _awq_words(codes.T), "qzeros": _awq_words(zeros.T), "scales": stored.T.contiguous()}
        else:  # rows of groups are padded to whole words
            padding = (0, -zeros.shape[1] % 8)
            padded = np.pad(zeros, ((0, 0), padding))
            tensors = {
                "qweight": words(codes.T, 4).T.contiguous(),
                "qzeros": words(padded.T, 4).T.contiguous(),
                "scales": torch.nn.functional.pad(stored, padding),
            }
        return tensors, (scales[:, index] * (codes - zeros[:, index])).astype(np.float32)

    return pack


def fp8(kind: str, name: str = "weight_scale", dtype: torch.dtype = F32) -> Packer:
    """``kind``: tensor, channel, or block (128 x 128, cut short at the ends)."""

    def pack(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
        out, width = w.shape
        rows = {"tensor": np.zeros(out, int), "channel": np.arange(out), "block": np.arange(out) // 128}[kind]
        columns = np.arange(width) // 128 if kind == "block" else np.zeros(width, int)
        largest = np.zeros((rows.max() + 1, columns.max() + 1))
        np.maximum.at(largest, (rows[:, None], columns[None]), np.abs(w))
        stored, scales = as_stored(largest / 448 * 1.01, dtype)
        spread = scales[rows][:, columns]
        codes = torch.from_numpy(w / spread).to(E4M3)
        stored = stored.reshape(()) if kind == "tensor" else stored
        extra = {"input_scale": torch.tensor(1.5)} if name != "weight_scale_inv" else {}
        return {"weight": codes, name: stored, **extra}, (codes.float().numpy() * spread).astype(np.float32)

    return pack


def int8(symmetric: bool = True, dtype: torch.dtype = BF16) -> Packer:
    """A scale for each row (compressed-tensors)."""

    def pack(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
        stored, scales, zeros, codes = grouped(w, 8, -1, symmetric, np.zeros(w.shape[1], int), dtype)
        tensors = {"weight": torch.from_numpy((codes - 128).astype(np.int8)), "weight_scale": stored}
        if not symmetric:
            tensors["weight_zero_point"] = torch.from_numpy((zeros - 128).astype(np.int8))
        return tensors, (scales * (codes - zeros)).astype(np.float32)

    return pack


def packed(bits: int, group: int, *, symmetric: bool = True, act_order: bool = False, dtype: torch.dtype = BF16) -> Packer:
    """compressed-tensors' pack-quantized."""

    def pack(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
        index = np.arange(w.shape[1]) // (group if group > 0 else w.shape[1])
        if act_order:
            index = index[np.random.default_rng(w.shape[1]).permutation(w.shape[1])]
        stored, scales, zeros, codes = grouped(w, bits, group, symmetric, index, dtype)
        tensors = {"weight_packed": words(codes.T, bits).T.contiguous(), "weight_scale": stored, "weight_shape": torch.tensor(w.shape)}
        if not symmetric:
            tensors["weight_zero_point"] = words(zeros, bits)
        if act_order:
            tensors["weight_g_idx"] = torch.from_numpy(index.astype(np.int32))
        return tensors, (scales[:, index] * (codes - zeros[:, index])).astype(np.float32)

    return pack


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])


def _nearest(x: NDArray[Any], table: NDArray[Any]) -> NDArray[np.int64]:
    return np.abs(x[..., None] - table).argmin(-1)


def fp4(style: str) -> Packer:
    """``style``: modelopt, packed (compressed-tensors' NVFP4) or mx (its MXFP4)."""

    def pack(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
        group = 32 if style == "mx" else 16
        blocks = w.reshape(len(w), -1, group)
        largest = np.abs(blocks).max(-1) / 6
        whole = 1.0
        if style == "mx":
            exponents = np.ceil(np.log2(largest)).astype(int) + 127
            stored, scales = torch.from_numpy(exponents.astype(np.uint8)), np.exp2(exponents - 127.0)
        else:
            divisor = np.float32(448 / largest.max())
            whole = float(np.float32(1) / divisor)
            stored = torch.from_numpy((largest * divisor).astype(np.float32)).to(E4M3)
            scales = stored.float().numpy() * whole
        codes = _nearest(blocks / scales[..., None], E2M1)
        pairs = codes.reshape(len(w), -1, 2)
        nibbles = torch.from_numpy((pairs[..., 0] | pairs[..., 1] << 4).astype(np.uint8))
        if style == "modelopt":
            tensors = {"weight": nibbles, "weight_scale": stored, "weight_scale_2": torch.tensor(whole), "input_scale": torch.tensor(0.1)}
        else:
            tensors = {"weight_packed": nibbles, "weight_scale": stored}
            if style == "packed":
                tensors |= {"weight_global_scale": torch.tensor([divisor]), "input_global_scale": torch.tensor([3.0])}
        return tensors, (E2M1[codes] * scales[..., None]).reshape(w.shape).astype(np.float32)

    return pack


#: bitsandbytes' tables.
NF4 = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334),
    *(-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]
FP4 = [0, 1 / 192, 2 / 3, 1, 1 / 3, 0.5, 1 / 6, 0.25, 0, -1 / 192, -2 / 3, -1, -1 / 3, -0.5, -1 / 6, -0.25]


def bitsandbytes(kind: str, *, double: bool, block: int = 64) -> Packer:
    """``kind``: nf4 or fp4; with ``double`` the scales are bytes that a table, scales of 256 and an offset make numbers of."""
    table = np.array(NF4 if kind == "nf4" else FP4, np.float32)

    def pack(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
        blocks = w.reshape(-1, block)
        absmax = np.abs(blocks).max(1).astype(np.float32)
        state: dict[str, Any] = {"quant_type": kind, "blocksize": block, "dtype": "float32", "shape": list(w.shape)}
        tensors = {"weight.quant_map": torch.from_numpy(table)}
        if double:
            map_of_256 = np.sort(rng.uniform(-1, 1, 256)).astype(np.float32)
            offset, codes = float(absmax.mean()), []
            nested = np.array([np.abs(part - offset).max() for part in np.split(absmax, range(256, len(absmax), 256))], np.float32)
            codes = _nearest((absmax - offset) / np.repeat(nested, 256)[: len(absmax)], map_of_256)
            absmax = (map_of_256[codes] * np.repeat(nested, 256)[: len(absmax)] + np.float32(offset)).astype(np.float32)
            state |= {"nested_blocksize": 256, "nested_offset": offset, "nested_dtype": "float32"}
            tensors |= {"weight.nested_quant_map": torch.from_numpy(map_of_256), "weight.nested_absmax": torch.from_numpy(nested)}
        tensors["weight.absmax"] = torch.from_numpy(codes.astype(np.uint8) if double else absmax)
        numbers = _nearest(blocks / absmax[:, None], table)
        pairs = numbers.reshape(-1, 2)
        tensors["weight"] = torch.from_numpy((pairs[:, 0] << 4 | pairs[:, 1]).astype(np.uint8)[:, None])
        described = np.frombuffer(json.dumps(state).encode(), np.uint8).copy()
        tensors[f"weight.quant_state.bitsandbytes__{kind}"] = torch.from_numpy(described)
        return tensors, (table[numbers] * absmax[:, None]).reshape(w.shape)

    return pack


def int8_of_bitsandbytes(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
    largest = np.abs(w).max(1).astype(np.float32)
    codes = np.round(w * 127 / largest[:, None]).astype(np.int8)
    tensors = {"weight": torch.from_numpy(codes), "SCB": torch.from_numpy(largest), "weight_format": torch.tensor(0, dtype=torch.uint8)}
    return tensors, (codes * largest[:, None] / 127).astype(np.float32)


def mlx(bits: int, group: int, dtype: torch.dtype = BF16) -> Packer:
    def pack(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
        index = np.arange(w.shape[1]) // group
        stored, scales, _, _ = grouped(w, bits, group, False, index, dtype)
        low = np.stack([w[:, index == g].min(1) for g in range(index.max() + 1)], 1)
        biases, added = as_stored(low, dtype)
        codes = np.clip(np.round((w - added[:, index]) / scales[:, index]), 0, (1 << bits) - 1).astype(np.int64)
        tensors = {"weight": words(codes.T, bits).T.contiguous().view(torch.uint32), "scales": stored, "biases": biases}
        return tensors, (scales[:, index] * codes + added[:, index]).astype(np.float32)

    return pack


def bitnet(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
    divisor, scale = as_stored(np.array([1 / np.abs(w).mean()]), BF16)
    codes = np.clip(np.round(w * scale), -1, 1).astype(np.int64) + 1
    quarters = codes.reshape(4, -1, w.shape[1])
    whole = sum(quarters[i] << 2 * i for i in range(4))
    return {"weight": torch.from_numpy(np.asarray(whole, np.uint8)), "weight_scale": divisor}, ((codes - 1) / scale).astype(np.float32)


def exl2(*bits: int, group: int = 32) -> Packer:
    """Groups of these widths in turn; columns in an order of their own."""

    def pack(w: Floats, rng: np.random.Generator) -> tuple[Stored, Floats]:
        width = w.shape[1]
        order = np.random.default_rng(width).permutation(width)
        meant, parts, pairs, nibbles, largest, first = np.zeros_like(w), [], [], [], [], 0
        for i in range(width // group):
            columns, b = order[i * group : (i + 1) * group], bits[i % len(bits)]
            scales = np.abs(w[:, columns]).max(1) / (1 << (b - 1))
            most = np.float16(scales.max())
            roots = np.clip(np.ceil(16 * np.sqrt(scales / np.float32(most))), 1, 16).astype(np.int64)
            spread = (roots**2 * (np.float32(most) / 256)).astype(np.float32)[:, None]
            codes = np.clip(np.round(w[:, columns] / spread) + (1 << (b - 1)), 0, (1 << b) - 1).astype(np.int64)
            meant[:, columns] = spread * (codes - (1 << (b - 1)))
            parts.append(words(codes.T, b))
            pairs += [b, first]
            first += len(parts[-1])
            nibbles.append(roots - 1)
            largest.append(most)
        tensors = {
            "q_weight": torch.cat(parts),
            "q_groups": torch.tensor(pairs, dtype=torch.int16),
            "q_scale": words(np.stack(nibbles, 1), 4).T.contiguous(),
            "q_scale_max": torch.tensor(np.array(largest)),
            "q_invperm": torch.from_numpy(np.argsort(order).astype(np.int32)),
        }
        return tensors, meant

    return pack
