"""Measuring what models say of texts: perplexity, divergence from a reference, and which inputs of their matrices matter."""
