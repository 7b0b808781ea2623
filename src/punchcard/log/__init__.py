"""The event log: the accepted requests of the Tracking API, in order and durable. Port, adapters, group commit."""
