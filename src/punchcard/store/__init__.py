"""The store in SQLite or PostgreSQL: a package per owner of tables, with all SQL on them."""
