"""What operators see and request: alerts, replays, simulations and reconciliations. All SQL on it is here."""
