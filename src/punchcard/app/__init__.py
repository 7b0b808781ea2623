"""The App: pages in which nobody needs code, rendered by the server over the same mechanisms as the Public API."""
