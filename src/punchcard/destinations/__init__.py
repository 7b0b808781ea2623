"""Where effects happen: the port of a partner, destination definitions as data, and one folder of code per partner."""
