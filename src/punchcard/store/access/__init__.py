"""Who may do what, and who did what: operators, tokens and the audit log. All SQL on it is here."""
