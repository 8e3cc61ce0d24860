"""Requests in, tokens out: sampling, sequences and their places in the cache, generation."""
