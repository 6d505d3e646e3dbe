"""git, independent of databases, settings and our records."""
