"""The number of replicas of a compose project: by hand, or by the load of the replicas that run."""
