"""Queries and actions of operators, shared by App, Public API and command line."""
