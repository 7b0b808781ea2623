"""Violations of tracking plans."""
