"""How good the answers were, by the labels that came: for each version, variant and window of prediction time."""
