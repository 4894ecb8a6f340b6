"""From a CSV to a versioned snapshot of a dataset."""
