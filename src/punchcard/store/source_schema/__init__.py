"""The source schema: which events and properties each source really sends."""
