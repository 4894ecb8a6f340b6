"""The commands of `mlops`, a module for each group of `mlops --help`."""
