"""
The ledger: one database per repository, in which the agents of all its worktrees share tasks and questions.

Two rules keep it consistent. *The table is the queue*: no state of the work lives in a process's memory, so nothing
is lost when a process dies. *Every write takes the lock first*: no transaction reads, decides, and then finds that
it cannot write. Everything else is left to the schema's checks, keys and cascades.

.. code-block:: text

    ledger        Ledger.read() and .write(): transactions with the 14 repositories
    schema        19 tables: work, agents, talk, documents, review, errands
    repositories  reading and writing rows, a file for each area of the schema; graph.py refuses cycles
    store         the engine for SQLite or PostgreSQL, and the schema's migrations
    agents        registration, liveness, conversations, logs
    work          the queue, deletion, proposals, errands
    maintenance   backups and integrity checks
    board         the ledger as one HTML page
"""
