"""From the bytes of a request to the bytes of an answer; knows no HTTP."""
