"""From a snapshot to a run with a model file."""
