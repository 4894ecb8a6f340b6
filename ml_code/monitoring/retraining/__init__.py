"""Retraining after drift or a decline: when it may begin, on which rows, and which model comes out."""
