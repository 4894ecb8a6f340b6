"""Predictions for whole files, shard by shard."""
