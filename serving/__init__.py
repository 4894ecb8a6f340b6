"""The service that answers predictions, and the rollout that decides which version it answers with."""
