"""The outbox and the ledger: effects, their attempts, and what is decided and counted of them. All its SQL is here."""
