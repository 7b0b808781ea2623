"""Traces: one event's trace, put together from log, lake and ledger, for `trace` and the events call."""
