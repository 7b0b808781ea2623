"""The command line: reads and writes what the other packages offer, and says it to a person.

::

    app            the commands' names, options and help; each imports what it needs only when it runs
    running        errors become one line each and an exit status
    options        options that several commands share, and the settings they make
    configuring    apply, export, check
    tracing        trace            story_text  the story as text
    retrying       retry
    sending        send             tracking_client  HTTP to a Tracking API
    importing/     import
"""
