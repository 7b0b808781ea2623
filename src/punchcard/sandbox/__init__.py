"""The local Perkville: plays Perkville's API honestly, with pages to look at it and faults to switch on.

It shares no code with the Perkville client, so that one cannot hide the other's mistake. Whatever is unknown about the
real service (see the tables in `resources.py`, `orders.py` and `awards.py`) is decided in one named place each.

::

    server    one process, one thread: uvicorn on the loopback, SIGTERM stops it
    front     every request enters here: edge block, throttle, faults, then one of
    ├── api       /v2/…       Perkville's API: bearer tokens, lists, details
    │   ├── orders     the body of POST /v2/transactions/: keys, types, bounds
    │   ├── awards     the rules of a transaction: perk, location, points, duplicates, voids
    │   └── resources  what each collection answers, and by what it can be filtered
    ├── control_api  /sandbox/…  faults, and the truth for a test
    └── pages     the rest    for people
    database  one SQLite file in the data folder
"""

from punchcard.sandbox.server import serve_sandbox

__all__ = ["serve_sandbox"]
