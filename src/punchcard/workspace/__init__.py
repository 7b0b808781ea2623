"""The configuration as one value: read, validate, plan, apply, export and watch it. File, App and API all use it."""
