"""Drift: whether the rows of a window differ from those that a version was made for."""
