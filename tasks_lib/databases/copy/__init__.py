"""Copy one database into another: by TEMPLATE or by pg_dump."""
