"""What a rollout sees from outside: the replicas and the gateway."""
