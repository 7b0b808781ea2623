"""The command line.

::

    app            names, options and help of the commands; each command imports what it needs when it runs
    running        turns errors into one line each and an exit status
    help_pages     help as finished text, without importing the commands
    output         the end of a command's output
    plain_values   reads options without importing pydantic
    options        shared options, and the settings that they make
    configuring    apply, export, check
    tracing        trace            trace_text       a trace as text
    retrying       retry            examining        doctor
    doubts         resolve
    listing        prints a list as table or JSON
    named_parts    names of configured parts that lists are filtered by
    lists          lists and exports of transactions, events, customers, members, changes, sources, destinations
    users          user
    sending        send             tracking_client  HTTP client of the Tracking API
    importing/     import
"""
