"""Routing: reads the log in order, decides every event's fate, and commits fates, effects and position together."""
