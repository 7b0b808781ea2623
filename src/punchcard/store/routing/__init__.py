"""What routing stores: positions, results for the lake, held and quarantined events. All SQL on it is here."""
