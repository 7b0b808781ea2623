"""The event log: what the Tracking API has taken, in order and durable. Port, adapters, group commit."""
