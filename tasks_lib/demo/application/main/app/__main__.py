"""Print the contacts in the database that `.env` names: `python -m app`."""

from __future__ import annotations

import psycopg
from dotenv import dotenv_values

with psycopg.connect(dotenv_values()["DATABASE_URL"] or "") as connection:
    print(connection.info.dbname)
    for (name,) in connection.execute("SELECT full_name FROM contact ORDER BY created_at, id"):
        print(f"  {name}")
