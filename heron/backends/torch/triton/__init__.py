"""Triton kernels of the torch backend, a file for each idea: a kernel, and a function over plain tensors that launches it.

Nothing outside this folder imports triton. With ``TRITON_INTERPRET=1`` in the environment when triton is first imported, kernels
are interpreted on the CPU, which is how the tests hold them to the reference; without a GPU they are only compiled.
"""
