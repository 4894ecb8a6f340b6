"""The commands of `mlops`, one module for each group of `mlops --help`."""
