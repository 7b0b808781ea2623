"""Identity resolution: the external ids of an event, and the profile that it belongs to. Pure.

`external_ids` reads the ids of an event, `identity` assigns its profile and merges profiles of the same person.

Source: Segment's documentation of identity resolution.
"""
