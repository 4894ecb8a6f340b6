"""After the answer: the log of predictions, their labels, and what both say of a model."""
