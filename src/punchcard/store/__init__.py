"""The store: configuration, log position, outbox and ledger in SQLite or PostgreSQL. All of its SQL is here."""
