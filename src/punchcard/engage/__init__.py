"""Profiles, computed traits and audiences, kept up to date with the events and synced to destinations.

`computation_engine` works in steps: it reads new events from the lake, resolves which profile each belongs to, computes
what they change, and saves the changes. `fact_store` is the DuckDB file in which it computes. `sync_dispatch` sends
changed values as calls through the event log.
"""
