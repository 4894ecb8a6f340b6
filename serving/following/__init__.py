"""From the registry to versions in memory."""
