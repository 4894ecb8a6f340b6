"""The upgrade of a compose project to the version of its checkout, and the way back where a step fails."""
