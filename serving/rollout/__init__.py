"""A rollout: its steps, its row, its verdict, and the way back."""
