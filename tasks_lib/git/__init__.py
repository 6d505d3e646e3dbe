"""git, and nothing else: no database, no settings, no records of ours."""
