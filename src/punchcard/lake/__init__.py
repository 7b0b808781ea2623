"""The lake: every event with its results in a Delta table of daily partitions, appended exactly once, read by DuckDB.

`schema` defines the rows, `writer` appends, `reader` finds events, `compaction` merges small files; `table` and
`data_file` wrap Delta and Parquet. pyarrow, deltalake and duckdb are imported on first use, so that a process that does
not use the lake stays small.
"""
