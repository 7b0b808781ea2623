"""Build releases of Punchcard: changelog, packages, bill of materials and hashes."""
