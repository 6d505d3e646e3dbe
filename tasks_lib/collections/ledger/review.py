"""The diff of a phase, and the comments on it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tasks_lib.collections._arguments import read_text
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, task
from tasks_lib.collections.views.results import preview
from tasks_lib.collections.views.rows import row_for_json, rows_for_json
from tasks_lib.errors import LedgerError
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import colour_patch, format_table
from tasks_lib.workflows.ledger_access import ledger_of

if TYPE_CHECKING:
    from invoke.context import Context

_PHASE_HELP = "The phase's id, or its beginning."
_COMMENT_HELP = "The comment's id, or its beginning."


@task(
    help={
        "phase": _PHASE_HELP,
        "file": "The file, as the diff names it.",
        "line": "The line number from 1: on the old side for a removed line, else on the new side.",
        "body": "The comment; `-` reads standard input.",
        "type": "The kind of line: added, removed or context.",
        "author": "The author's name.",
    },
    returns="*comment*: `{id, file_path, line_number, line_type, body, author, resolved, …}`",
)
def add(
    c: Context,
    phase: str,
    file: str,
    line: str,
    body: str,
    type: str = "added",  # noqa: A002 - the flag's name
    author: str = "you",
    json: bool = False,
) -> Answer:
    """
    Comment on a line of a phase's diff
    """
    project = current_project()
    if not line.isdecimal() or int(line) < 1:
        raise LedgerError(f"`{line}` is not a line number", why="lines count from 1")
    if c.config.run.dry:
        return preview([f"comment on {file}:{line}"])
    ledger, text = ledger_of(project), read_text(body)
    with ledger.write() as tx:
        comment = tx.review_comments.create(
            phase_id=tx.phases.named(phase).id,
            file_path=file,
            line_number=int(line),
            line_type=type,
            body=text,
            author=author,
        )
    return Answer(row_for_json(comment), f"comment {short_id(comment.id)} on {file}:{line}")


@task(reads=True, name="list", help={"phase": _PHASE_HELP, "open": "Only unresolved comments."}, returns="`[comment]`")
def list_(c: Context, phase: str, open: bool = False, json: bool = False) -> Answer:  # noqa: A002 - the flag's name
    """
    List the comments on a phase's diff, by file and line
    """
    project = current_project(looks=True)
    with ledger_of(project).read() as tx:
        comments = tx.review_comments.find_by_phase_id(tx.phases.named(phase).id)
    shown = [comment for comment in comments if not (open and comment.resolved)]
    rows = [
        (
            short_id(comment.id),
            "resolved" if comment.resolved else "open",
            f"{comment.file_path}:{comment.line_number}",
            comment.line_type,
            comment.author,
            " ".join(comment.body.split()),
        )
        for comment in shown
    ]
    headings = ("ID", "STATE", "WHERE", "LINE", "AUTHOR", "COMMENT")
    return Answer(
        rows_for_json(shown), format_table(headings, rows, spare=("LINE", "AUTHOR")) if rows else "no comments"
    )


@task(reads=True, help={"phase": _PHASE_HELP}, returns="`{id, merge_base, files, patch, comments: [comment]}`")
def diff(c: Context, phase: str, json: bool = False) -> Answer:
    """
    Show what a phase changes, with the open comments below their lines

    Shows the changes of the initiative's branch since it left the default branch,
    or for a merged phase, since its recorded merge base.
    """
    from tasks_lib.collections.views.annotated_patch import annotate_patch
    from tasks_lib.git.diff import diff_since, replace_undecodable

    project = current_project(looks=True)
    with ledger_of(project).read() as tx:
        found = tx.phases.named(phase)
        initiative = tx.initiatives.require(found.initiative_id)
        comments = [comment for comment in tx.review_comments.find_by_phase_id(found.id) if not comment.resolved]
    if initiative.branch is None:
        raise LedgerError(
            f"initiative `{initiative.name}` has no branch",
            why="a phase's diff is that of its initiative's branch",
            hint=f"inv initiative.update {short_id(initiative.id)} --branch BRANCH",
        )
    base = found.merge_base or f"refs/heads/{project.base_branch}"
    with diff_since(project.repository, base, initiative.branch) as changes:
        patch, files = changes.patch(), [asdict(file) for file in changes.files()] if json else []
    if not json:
        text = colour_patch(annotate_patch(patch, comments)) if patch else f"`{initiative.branch}` changes nothing"
        return Answer(None, text, exact=True)
    data = {
        "id": found.id,
        "merge_base": changes.old,
        "files": files,
        "patch": replace_undecodable(patch),
        "comments": rows_for_json(comments),
    }
    return Answer(data, "")


@task(
    help={"comment": _COMMENT_HELP},
    returns="*comment*: `{id, file_path, line_number, line_type, body, author, resolved, …}`",
)
def resolve(c: Context, comment: str, json: bool = False) -> Answer:
    """
    Mark a comment as resolved
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"resolve comment {comment}"])
    with ledger_of(project).write() as tx:
        found = tx.review_comments.resolve(tx.review_comments.named(comment).id)
    return Answer(row_for_json(found), f"resolved comment {short_id(found.id)}")


@task(
    help={"comment": _COMMENT_HELP},
    returns="*comment*: `{id, file_path, line_number, line_type, body, author, resolved, …}`",
)
def unresolve(c: Context, comment: str, json: bool = False) -> Answer:
    """
    Mark a comment as open again
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"reopen comment {comment}"])
    with ledger_of(project).write() as tx:
        found = tx.review_comments.unresolve(tx.review_comments.named(comment).id)
    return Answer(row_for_json(found), f"reopened comment {short_id(found.id)}")


@task(
    help={"comment": _COMMENT_HELP},
    returns="*comment*: `{id, file_path, line_number, line_type, body, author, resolved, …}`",
)
def delete(c: Context, comment: str, json: bool = False) -> Answer:
    """
    Delete a comment
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"delete comment {comment}"])
    with ledger_of(project).write() as tx:
        found = tx.review_comments.named(comment)
        tx.review_comments.delete(found.id)
    return Answer(row_for_json(found), f"deleted comment {short_id(found.id)}")
