"""Backups of a stack: sets of its databases, its objects and its settings, read whole before they are trusted."""
