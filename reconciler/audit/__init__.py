"""The audit database: tables, store and reader. SQLite or PostgreSQL, the same schema."""
