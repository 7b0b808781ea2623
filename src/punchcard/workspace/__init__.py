"""The configuration as one value: read, validate, plan, apply, export and watch; the one way for file, App and API."""
