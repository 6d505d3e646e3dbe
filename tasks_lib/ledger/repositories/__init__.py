"""
The ports of `ledger.ports` on SQLAlchemy, one file for each area of the schema.
"""
