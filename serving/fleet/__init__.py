"""The replicas and the gateway, as a rollout sees them from outside."""
