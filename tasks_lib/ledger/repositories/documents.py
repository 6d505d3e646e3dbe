"""
Repositories of pages and proposals.
"""

from __future__ import annotations

from typing import Any

from tasks_lib.errors import ConflictError, NotFoundError
from tasks_lib.ledger.repositories.base import Repository
from tasks_lib.ledger.schema.base import new_id
from tasks_lib.ledger.schema.documents import Page, Proposal
from tasks_lib.ledger.schema.work import Initiative
from tasks_lib.ledger.store.dialect import insert


class PageRepository(Repository[Page]):
    """The pages of initiatives; each initiative has one root page."""

    row, noun, listing = Page, "page", "inv page.list INITIATIVE"

    def create(self, **values: Any) -> Page:
        """
        Add a page.

        Raises:
            ConflictError: If the initiative has a root page already, or the parent belongs to another initiative.
        """
        if values.get("parent_page_id"):
            self._require_same_initiative(values["parent_page_id"], values.get("initiative_id"))
        return super().create(**values)

    def find_root_page(self, initiative_id: str) -> Page | None:
        """Return an initiative's root page."""
        return self._first(self._select().where(Page.initiative_id == initiative_id, Page.parent_page_id.is_(None)))

    def get_or_create_root_page(self, initiative_id: str, title: str | None = None) -> Page:
        """
        Return an initiative's root page, creating it if necessary; concurrent callers get the same page.

        Args:
            title: The title of a new page; by default the initiative's name.

        Raises:
            NotFoundError: If the initiative does not exist.
        """
        initiative = self.session.get(Initiative, initiative_id)
        if initiative is None:
            raise NotFoundError(f"initiative `{initiative_id}` does not exist", hint="inv initiative.list")
        moment = self.clock()
        values = {
            "id": new_id(),
            "initiative_id": initiative_id,
            "title": title or initiative.name,
            "sort_order": 0,
            "created_at": moment,
            "updated_at": moment,
        }
        self.session.execute(insert(self.session, Page).values(values).on_conflict_do_nothing())
        root = self.find_root_page(initiative_id)
        if root is None:  # deleted concurrently, on PostgreSQL
            raise ConflictError(f"the root page of initiative `{initiative_id}` was just deleted", hint="try again")
        return root

    def update(self, id: str, **values: Any) -> Page:
        """
        Change a page.

        Raises:
            ConflictError: If the new parent is the page itself, below it or in another initiative, or missing.
        """
        page = self.hold(id)
        if values.get("initiative_id", page.initiative_id) != page.initiative_id:
            raise ConflictError(f"page `{id}` cannot move to another initiative")
        above = values.get("parent_page_id", page.parent_page_id)
        if above != page.parent_page_id:
            if above is None:
                raise ConflictError(f"page `{id}` cannot become a second root page")
            self._refuse_cycle(id, above, "parent_page_id")
            self._require_same_initiative(above, page.initiative_id)
        return super().update(id, **values)

    def _require_same_initiative(self, above: str, initiative_id: str | None) -> None:
        if self.require(above).initiative_id != initiative_id:
            raise ConflictError("a page must belong to the initiative of its parent page")

    def _order(self) -> tuple[Any, ...]:
        return Page.sort_order, Page.created_at, Page.id


class ProposalRepository(Repository[Proposal]):
    """The proposals of agents; the module `proposals` applies them."""

    row, noun = Proposal, "proposal"

    def _order(self) -> tuple[Any, ...]:
        return Proposal.sort_order, Proposal.created_at, Proposal.id
