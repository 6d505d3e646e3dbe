"""The pages of an initiative: findings and decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.collections._arguments import read_text
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, task
from tasks_lib.collections.views.results import preview
from tasks_lib.collections.views.rows import row_for_json, rows_for_json
from tasks_lib.errors import LedgerError
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.workflows.ledger_access import ledger_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invoke.context import Context

    from tasks_lib.ledger.schema.documents import Page

_PAGE_HELP = "The page's id, or its beginning."
_INITIATIVE_HELP = "The initiative's id, or its beginning."
_CONTENT_HELP = "The text; `-` reads standard input."


@task(reads=True, name="list", help={"initiative": _INITIATIVE_HELP}, returns="`[page]`")
def list_(c: Context, initiative: str, json: bool = False) -> Answer:
    """
    List the pages of an initiative, each below its parent
    """
    project = current_project(looks=True)
    with ledger_of(project).read() as tx:
        pages = tx.pages.find_all(initiative_id=tx.initiatives.named(initiative).id)
    lines = [f"{short_id(page.id)}  {'  ' * depth}{page.title}" for page, depth in _tree(pages, None)]
    return Answer(rows_for_json(pages), "\n".join(lines) or "no pages")


@task(reads=True, help={"page": _PAGE_HELP}, returns="*page*: `{id, parent_page_id, title, content, …}`")
def show(c: Context, page: str, json: bool = False) -> Answer:
    """
    Print a page
    """
    project = current_project(looks=True)
    with ledger_of(project).read() as tx:
        found = tx.pages.named(page)
    return Answer(row_for_json(found), "\n\n".join(filter(None, (f"# {found.title}", found.content))))


@task(
    help={
        "initiative": _INITIATIVE_HELP,
        "title": "The page's title.",
        "content": _CONTENT_HELP,
        "parent": "The parent page; the root page, which is created with the first page, when not given.",
    },
    returns="*page*: `{id, parent_page_id, title, content, …}`",
)
def write(c: Context, initiative: str, title: str, content: str = "", parent: str = "", json: bool = False) -> Answer:
    """
    Write a new page; `page.update` changes an existing one
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"write page {title}"])
    ledger, text = ledger_of(project), read_text(content)
    with ledger.write() as tx:
        found = tx.initiatives.named(initiative)
        above = tx.pages.named(parent) if parent else tx.pages.get_or_create_root_page(found.id)
        page = tx.pages.create(initiative_id=found.id, parent_page_id=above.id, title=title, content=text or None)
    return Answer(row_for_json(page), f"wrote page {short_id(page.id)}")


@task(
    help={
        "page": _PAGE_HELP,
        "title": "The new title.",
        "content": _CONTENT_HELP,
        "parent": "The new parent page.",
    },
    returns="*page*: `{id, parent_page_id, title, content, …}`",
)
def update(c: Context, page: str, title: str = "", content: str = "", parent: str = "", json: bool = False) -> Answer:
    """
    Change a page's title, content or parent
    """
    project = current_project()
    if not (title or content or parent):
        raise LedgerError("nothing to change", hint="pass --title, --content or --parent")
    if c.config.run.dry:
        return preview([f"change page {page}"])
    ledger, text = ledger_of(project), read_text(content)
    with ledger.write() as tx:
        values: dict[str, Any] = {}
        if title:
            values["title"] = title
        if content:
            values["content"] = text
        if parent:
            values["parent_page_id"] = tx.pages.named(parent).id
        changed = tx.pages.update(tx.pages.named(page).id, **values)
    return Answer(row_for_json(changed), f"changed page {short_id(changed.id)}")


def _tree(pages: Sequence[Page], above: str | None, depth: int = 0) -> Iterator[tuple[Page, int]]:
    """Yield the pages below the page *above* with their depth, each followed by its own subpages."""
    for page in pages:
        if page.parent_page_id == above:
            yield page, depth
            yield from _tree(pages, page.id, depth + 1)
