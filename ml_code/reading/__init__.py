"""How the files of people are read: the rules of a dataset, and their recognition."""
