"""Traces: one event's whole story, put together from log, lake and ledger, for `trace` and the events call."""
