"""The stack of docker-compose.yaml as plain processes on this machine, without Docker."""
