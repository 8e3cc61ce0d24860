"""Families of models: hyperparameters in, a graph of blocks out."""
