"""The sandbox's own pages: server-rendered, without scripts and external resources.

`site` has the routes, the style and the protection of forms; each other module has some pages.
"""
