"""Audiences and computed traits as definitions: one model, its query language, its JSON form and its SQL. Pure.

`model` is the tree of a definition; `parser` reads the language, `printer` writes it, `checks` finds comparisons that
cannot be evaluated; `sql` compiles any number of definitions into one statement.

Source: Segment's documentation, "Query language", "Audiences" and "Computed traits".
"""
