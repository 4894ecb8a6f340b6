"""The service that answers predictions, and the rollout that decides which version answers."""
