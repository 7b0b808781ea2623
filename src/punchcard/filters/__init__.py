"""Destination filters: Segment's filter language (FQL) and its actions, compiled to Python over the raw event. Pure."""
