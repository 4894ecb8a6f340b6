"""HTTP: the predictions, the pages beside them, and the figures."""
