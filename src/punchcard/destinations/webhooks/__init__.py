"""Webhooks: sends each event, or what a template makes of it, to a URL."""
