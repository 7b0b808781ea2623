"""Settings, assembly and processes. The only place where objects are wired together."""
