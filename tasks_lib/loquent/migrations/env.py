"""Run the migrations on the database that DATABASE_URL names."""

from __future__ import annotations

import logging
import os
from functools import partial

import psycopg
from alembic import context
from sqlalchemy import create_engine

logging.basicConfig(format="%(message)s")
logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)

# By psycopg, as it reads every form of URL that libpq knows.
engine = create_engine("postgresql+psycopg://", creator=partial(psycopg.connect, os.environ["DATABASE_URL"]))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
