"""A file for each family: where it comes from, how a HF config becomes metadata, and what its blocks are."""
