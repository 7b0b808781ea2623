"""The stored configuration, and what of it the config file manages. All SQL on it is here."""
