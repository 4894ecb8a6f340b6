"""Fits on a snapshot that is larger than memory: its rows go through the preprocessing block by block."""
