"""The command `mlops`: it imports all other packages, and none of them imports it."""
