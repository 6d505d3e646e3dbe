"""
The ledger: one database per repository, in which the agents of all its worktrees share tasks and questions.

Two rules hold it together. *The table is the queue*: nothing about the work lives in a process's memory, so
nothing is lost with one. *Every write takes the lock first*: no transaction reads, decides and then finds that
it may not write. Everything else follows from the schema's own checks, keys and cascades.

.. code-block:: text

    ledger        Ledger.read() and .write(): transactions with the 14 repositories
    ports         what each repository can do, as types
    repositories  the same on SQLAlchemy, one file for each area of `schema`
    schema        19 tables: work, agents, talk, documents, review
    graph         which depends on what; refuses cycles
    dispatch      what is ready, who claims it, what happens to it then
    conversations questions between agents, asked and awaited
    migrate       the schema's own history
"""
