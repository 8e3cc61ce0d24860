"""Checkpoints written anew: in other formats, and as other kinds of files."""
