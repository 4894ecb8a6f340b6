"""Compares two versions; pure."""
