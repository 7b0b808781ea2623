"""What ingest stores beside the log: rejected requests, and requests to delete a user. All SQL on it is here."""
