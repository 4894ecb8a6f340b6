"""Deletes what is too old or takes too much room, and nothing that serves or may have to serve again."""
