"""The command `mlops`: it uses all other packages, and none of them uses it."""
