"""`python -m tasks_lib` is the binary `goldentree`, for whom its directory is not on PATH."""

from tasks_lib.program import main

main()
