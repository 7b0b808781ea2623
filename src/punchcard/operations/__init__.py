"""What operators see and do, the same by App, Public API and command line."""
