"""The local Perkville: simulates Perkville's API, with pages to look at the data and faults to enable.

It shares no code with the Perkville client, so that a mistake in either is seen. Unknown behavior of the real service
(see the tables in `resources.py`, `orders.py` and `awards.py`) is decided in a single place each.

::

    server    a process with a single thread: uvicorn on the loopback, stopped by SIGTERM
    front     receives all requests: edge block, throttle, faults, then dispatch to one of
    ├── api       /v2/…       Perkville's API: bearer tokens, lists, details
    │   ├── orders     the body of POST /v2/transactions/: keys, types, bounds
    │   ├── awards     the rules of a transaction: perk, location, points, duplicates, voids
    │   └── resources  the objects and filters of each collection
    ├── control_api  /sandbox/…  faults, and all stored data for tests
    └── pages     the rest    for people
    database  one SQLite file in the data folder
"""

from punchcard.sandbox.server import serve_sandbox

__all__ = ["serve_sandbox"]
