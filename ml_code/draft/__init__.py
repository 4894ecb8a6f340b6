"""A table of a person becomes a dataset of the catalog: recognized, checked and tried before it is written."""
