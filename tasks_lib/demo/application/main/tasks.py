"""All that goldentree asks of a repository."""

from tasks_lib import ns

__all__ = ["ns"]
