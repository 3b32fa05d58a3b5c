"""Where records are kept: implementations of the port `kms/repositories.Store`.

- `migrations`: the numbered forward migrations of the SQLite schema.
- `rows`: record to row and back, with the MAC that authenticates each row.
- `statements`: every SQL text, made once from the registry of tables.
- `residue`: what SQLite leaves in the files beside its rows.
- `writer`: the thread that commits in groups.
- `sqlite`: `SqliteStore`, the embedded default: reads, polling, opening and closing.
"""
