"""What is wrong with a stack, and whether its loop goes round; for the compose stack and the local one."""
