"""From a run to a decision and a version."""
