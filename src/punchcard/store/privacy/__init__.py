"""Regulations, suppressed subjects, and the key of the hashes that stand for persons."""
