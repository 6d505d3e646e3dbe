"""The tasks of the agents' ledger, one module per noun."""
