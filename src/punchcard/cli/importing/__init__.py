"""The implementation of `import`: sends a file of past events, row by row, through the Tracking API.

::

    command        reads and sends rows, counts them, and saves the progress
    rows           rows of all formats; selects the reader of a file's format
    ├── csv_rows · json_rows · parquet_rows
    │   └── columns   meaning of column headings
    file_identity  message ids that are the same each time a file is imported
    sender         sends batches; retries; finds the event that is refused
    progress       saved progress of an interrupted import
    display        progress bar on a terminal, otherwise a line now and then
"""
