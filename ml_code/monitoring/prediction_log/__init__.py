"""What replicas answered: blocks of rows, and the tables they become."""
