"""The Public API under `/api`: Segment's conventions for paths, bodies and errors, and Punchcard's own calls."""
