"""Tools for developers; none of it is installed."""
