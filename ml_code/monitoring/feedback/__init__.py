"""Labels of what was predicted: how they arrive, are collected, and find their rows."""
