"""Audiences and computed traits as definitions: one model, its language, its JSON form and its SQL. Pure.

`model` is what a definition is; `parser` reads the language, `printer` writes it, `checks` says what cannot be meant;
`sql` turns any number of definitions into one statement.

Source: Segment's documentation, "Query language", "Audiences" and "Computed traits".
"""
