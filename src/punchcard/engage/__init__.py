"""Profiles, computed traits and audiences, kept up to date with the events and told to destinations.

`engine` takes one step after another: it reads new events from the lake, finds whose they are, computes what they
change, and writes it down; `facts` is the DuckDB file in which it computes; `telling` sends what has changed down the
one road.
"""
