"""Delivery: makes each effect of the outbox happen once at its partner: claim, prepare, attempt, record the result."""
