"""Checks of a running stack and of this machine, for the compose stack and the local one."""
