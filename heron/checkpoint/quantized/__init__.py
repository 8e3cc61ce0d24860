"""Quantized HF checkpoints: the tensors that make up one matrix, shown as one tensor in a block format."""
