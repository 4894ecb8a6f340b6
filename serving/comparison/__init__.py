"""Two versions beside each other; pure."""
