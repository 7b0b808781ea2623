"""The App: pages rendered by the server, built on the same operations as the Public API."""
