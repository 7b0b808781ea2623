"""Fakes that ship with Punchcard: the clock and the outside world, never our own storage."""
