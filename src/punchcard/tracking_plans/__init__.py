"""Tracking plans: what events a source may send, as JSON Schemas, and what in an event is not as planned. Pure."""
