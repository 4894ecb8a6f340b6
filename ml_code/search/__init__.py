"""Hyperparameters: the space, the trials, and a retraining that may search."""
