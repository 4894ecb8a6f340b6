"""What it costs to serve an older model: the last versions that served, scored on the newest labelled answers."""
