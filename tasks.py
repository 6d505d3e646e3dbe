"""What `inv` loads in this repository."""

from tasks_lib import ns

__all__ = ["ns"]
