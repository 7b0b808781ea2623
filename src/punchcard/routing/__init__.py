"""Routing: reads the log in order, decides every event's result, and commits results, effects and position together."""
