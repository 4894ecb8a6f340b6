"""From the bytes of a request to the bytes of an answer; does not know HTTP."""
