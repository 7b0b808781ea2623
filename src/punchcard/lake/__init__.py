"""The lake: every event with its results in a Delta table of daily partitions, appended exactly once, read by DuckDB.

`schema` is what a row is, `writer` appends, `reader` finds, `compaction` keeps the number of files small; `table` and
`data_file` know Delta and Parquet for them. pyarrow, deltalake and duckdb are imported where they are first used, so
that a process that only might need the lake stays small.
"""
