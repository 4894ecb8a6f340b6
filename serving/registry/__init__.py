"""The registry of MLflow: names of aliases and tags, a reader for replicas, a writer for rollouts."""
