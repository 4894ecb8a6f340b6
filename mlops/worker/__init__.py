"""Workers on other hosts: what they are told, which release they are of, and whether they reach the stack."""
