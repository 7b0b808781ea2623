"""Punchcard: customer events become loyalty points, each exactly once, with a reason for each that earned none."""

__version__ = "0.1.0"
