"""Perkville: loyalty points for customers of gyms and shops. README.md is the user's page, `partner.py` the entry."""
