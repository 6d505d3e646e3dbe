"""
Accept and dismiss proposals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger.schema.documents import ProposalStatus, ProposalTarget

if TYPE_CHECKING:
    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.schema.documents import Page, Proposal
    from tasks_lib.ledger.schema.work import Phase, Task


def accept(tx: Transaction, proposal_id: str) -> Page | Phase | Task:
    """
    Apply a proposal, and return the row that was created or changed.

    Raises:
        NotFoundError: If the proposal or its target does not exist.
        ConflictError: If it was accepted or dismissed already.
        LedgerError: If its metadata has an unknown field or an invalid value.
    """
    proposal = _pending(tx, proposal_id)
    try:
        found = _change(tx, proposal) if proposal.target_id else _make(tx, proposal)
    except TypeError as error:  # an agent wrote the metadata
        raise LedgerError(f"proposal `{proposal_id}` cannot be applied", why=str(error)) from None
    tx.proposals.update(proposal_id, status=ProposalStatus.ACCEPTED)
    return found


def dismiss(tx: Transaction, proposal_id: str) -> Proposal:
    """
    Dismiss a proposal.

    Raises:
        NotFoundError: If the proposal does not exist.
        ConflictError: If it was accepted or dismissed already.
    """
    _pending(tx, proposal_id)
    return tx.proposals.update(proposal_id, status=ProposalStatus.DISMISSED)


def _pending(tx: Transaction, proposal_id: str) -> Proposal:
    proposal = tx.proposals.hold(proposal_id)
    if proposal.status is not ProposalStatus.PENDING:
        raise ConflictError(f"proposal `{proposal_id}` was {proposal.status} already")
    return proposal


def _fields(proposal: Proposal) -> dict[str, Any]:
    """Return the fields that *proposal* sets; without content, the target keeps its content."""
    title = "title" if proposal.target_type is ProposalTarget.PAGE else "name"
    body = "description" if proposal.target_type is ProposalTarget.TASK else "content"
    content = {} if proposal.content is None else {body: proposal.content}
    return {title: proposal.title, **content, **(proposal.metadata_ or {})}


def _make(tx: Transaction, proposal: Proposal) -> Page | Phase | Task:
    fields = {**_fields(proposal), "initiative_id": proposal.initiative_id}
    if proposal.target_type is ProposalTarget.PAGE:
        root = tx.pages.get_or_create_root_page(proposal.initiative_id)
        return tx.pages.create(**{"parent_page_id": root.id, **fields})
    if proposal.target_type is ProposalTarget.PHASE:
        return tx.phases.create(**fields)
    return tx.tasks.create(**fields)


def _change(tx: Transaction, proposal: Proposal) -> Page | Phase | Task:
    target, fields = str(proposal.target_id), _fields(proposal)
    if proposal.target_type is ProposalTarget.PAGE:
        return tx.pages.update(target, **fields)
    if proposal.target_type is ProposalTarget.PHASE:
        return tx.phases.update(target, **fields)
    return tx.tasks.update(target, **fields)
