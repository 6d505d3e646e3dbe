"""The ledger's storage: engine, dialects, migrations."""
