"""
The `@task` decorator: a task returns an `Answer`, printed as text or as one JSON document.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit
from invoke.tasks import Task
from invoke.tasks import task as invoke_task

from tasks_lib import output
from tasks_lib.errors import GoldentreeError, machine_errors
from tasks_lib.program_name import name_program

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from invoke.parser.argument import Argument

JSON_HELP = "Print one JSON document instead of text."


@dataclass(frozen=True)
class Answer:
    """
    The result of a task: *data* for programs, *text* for people; unless *ok*, the task exits with *status*.

    *text* is empty if the task has printed it already, and *exact* if programs read it, such as a path or a patch.
    """

    data: Any
    text: str
    ok: bool = True
    status: int = 1
    exact: bool = False


class _Task(Task):  # type: ignore[type-arg]
    """A task that keeps its help: Invoke's removes each entry that it reads, so a second call would find none."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the task's arguments."""
        kept = dict(self.help)
        try:
            return super().get_arguments(ignore_unknown_help)
        finally:
            self.help = kept


class OptionalPositional(_Task):
    """
    A task whose first argument is positional and optional, as in `inv worktree.status feat-x`.

    Invoke has no optional positional arguments, so the argument is made positional only if a word that is not a
    task follows the task on the command line.
    """

    other_tasks: Container[str] = ()
    """The names of all tasks; set by `tasks_lib.collections`, which imports this module."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the task's arguments for this command line."""
        arguments = super().get_arguments(ignore_unknown_help)
        valued = {f"--{name}" for argument in arguments if argument.takes_value for name in argument.names}
        if self._word_follows(valued):
            arguments[0].positional, arguments[0].default = True, None
        return arguments

    def _word_follows(self, valued: Container[str]) -> bool:
        names, words = {self.name, *self.aliases}, iter(sys.argv[1:])
        if not any(word.rpartition(".")[2] in names for word in words):
            return False
        for word in words:
            if not word.startswith("-"):
                return word not in self.other_tasks
            if word in valued:
                next(words, None)
        return False


class PositionalUnlessPullRequest(OptionalPositional):
    """A task whose first argument is positional, and optional only beside `--pr`: a branch may have a task's name."""

    def _word_follows(self, valued: Container[str]) -> bool:
        return not any(word.partition("=")[0] == "--pr" for word in sys.argv) or super()._word_follows(valued)


def task(
    *,
    reads: bool = False,
    returns: str,
    help: Mapping[str, str] | None = None,  # noqa: A002 - Invoke's own word
    **options: Any,
) -> Callable[[Callable[..., Answer]], Any]:
    """
    Make a function that returns an `Answer` an Invoke task.

    With `--json`, a failure is printed as a JSON document on stdout; the exit status is that of the error.

    Args:
        returns: The shape of its data, in Markdown, for docs/reference/json.md.
        reads: Whether the task changes nothing. Any other task must only print its plan in a dry run (`inv -R`);
            tests/collections/test_dry_run.py runs each of them.
    """

    def decorate(body: Callable[..., Answer]) -> Any:
        @functools.wraps(body)
        def run(*arguments: Any, **flags: Any) -> Any:
            if sys.excepthook is sys.__excepthook__:  # and not what a team's `tasks.py` has set
                sys.excepthook = output.print_traceback
            try:
                if not {"--help", "-h"}.isdisjoint(value for value in flags.values() if isinstance(value, str)):
                    # Invoke takes the next word, even a flag, as the missing positional argument.
                    noun = body.__module__.rpartition(".")[2]
                    words = dict.fromkeys([noun, options.get("name", body.__name__).replace("_", "-")])
                    raise GoldentreeError("`--help` goes before the task", hint=f"inv --help {'.'.join(words)}")
                with machine_errors():
                    found = body(*arguments, **flags)
            except GoldentreeError as error:
                if flags.get("json"):
                    output.print_answer(output.format_error_document(error))
                    raise Exit(code=error.status) from error
                raise
            text = output.format_document(found.data) if flags.get("json") else found.text
            if text:
                output.print_answer(text, exact=found.exact)
            if not found.ok:
                raise Exit(code=found.status)
            return found.data

        # Invoke assigns short flags by first free letter, so they would change with every new parameter; and it
        # parses `-f` after a task as its own.
        options.setdefault("klass", _Task)
        run.__doc__ = name_program(run.__doc__ or "")
        explained = {name: name_program(text) for name, text in {**(help or {}), "json": JSON_HELP}.items()}
        made = invoke_task(help=explained, auto_shortflags=False, **options)(run)
        made.reads, made.returns = reads, returns
        return made

    return decorate
