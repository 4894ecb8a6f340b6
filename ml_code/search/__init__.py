"""The search of hyperparameters: its space, its trials, and the retraining after a rejection."""
