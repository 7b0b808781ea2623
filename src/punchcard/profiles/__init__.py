"""Who is who: which external ids an event brings, and which profile it belongs to. Pure.

`external_ids` reads the ids of an event, `identity` gives it a profile and merges those that turn out to be one person.

Source: Segment's documentation of identity resolution.
"""
