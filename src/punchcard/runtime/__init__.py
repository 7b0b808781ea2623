"""Runtime: settings, assembling, processes. The only place where objects are wired together."""
