"""`import`: a file of past events, row by row, through the Tracking API.

::

    command     reads, sends, keeps the progress, counts
    rows        a row as every format gives it; the reader of a file's format
    ├── csv_rows · json_rows · parquet_rows
    │   └── columns   what a column's heading means
    identity    message ids that are the same each time the file is imported
    sender      batches; waits and tries again; finds the one event that is refused
    progress    how far an import came, kept for the next run
    display     a bar on a terminal, a line now and then elsewhere
"""
