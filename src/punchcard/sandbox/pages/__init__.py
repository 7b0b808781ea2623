"""The sandbox's own pages: server-rendered, no script, nothing fetched from elsewhere.

`site` holds the route table, the look and the guard; each other module answers a few pages.
"""
