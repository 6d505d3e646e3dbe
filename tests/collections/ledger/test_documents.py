"""Review comments, proposals, pages and chats, as people and agents use them at the command line."""

from __future__ import annotations

import io
import json
import sys

import pytest
from invoke.context import Context

from tasks_lib.collections._project import current_project
from tasks_lib.collections.ledger import agent, chat, page, proposal, review
from tasks_lib.errors import ConflictError, LedgerError, NotFoundError
from tasks_lib.workflows.ledger_access import ledger_of


@pytest.fixture
def work(repository, monkeypatch):
    """Give a repository whose ledger has an initiative with a phase, a task and an agent."""
    monkeypatch.chdir(repository.path)
    with ledger_of(current_project()).write() as tx:
        repository.initiative = tx.initiatives.create(name="Import").id
        repository.phase = tx.phases.create(initiative_id=repository.initiative, name="First").id
        repository.task = tx.tasks.create(phase_id=repository.phase, name="Parse").id
    agent.register(Context(), "swift-otter")
    return repository


def spoken(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_pages_are_written_and_shown(work, monkeypatch):
    """A page is below the root page or another page; content comes from standard input; updates keep the rest."""
    spoken(monkeypatch, "what we know\nso far\n")
    first = page.write(Context(), work.initiative, "Research", content="-")
    second = page.write(Context(), work.initiative, "Formats", content="CSV", parent=first["id"])
    listed = work.inv("page.list", work.initiative).stdout.splitlines()
    assert [line.partition("  ")[2] for line in listed] == ["Import", "  Research", "    Formats"]
    assert work.inv("page.show", first["id"][:8]).stdout == "# Research\n\nwhat we know\nso far\n"
    changed = work.json("page.update", second["id"], "--title", "File formats")
    assert (changed["title"], changed["content"]) == ("File formats", "CSV")
    with pytest.raises(ConflictError, match="cannot be moved below itself"):
        page.update(Context(), first["id"], parent=second["id"])
    with pytest.raises(LedgerError, match="nothing to change"):
        page.update(Context(), first["id"])
    monkeypatch.setattr(sys, "stdin", None)  # `<&-`
    with pytest.raises(LedgerError, match="standard input is closed"):
        page.update(Context(), first["id"], content="-")
    assert work.json("-R", "page.write", work.initiative, "No") == {"plan": ["write page No"]}
    assert len(page.list_(Context(), work.initiative)) == 3


def test_proposals_are_accepted_or_dismissed(work):
    """Accepted together or not at all; a change without content leaves the content; dismissed ones stay so."""
    metadata = json.dumps({"priority": "high", "phase_id": work.phase})
    arguments = ["--initiative", work.initiative, "--type", "task", "--metadata", metadata]
    new = work.json("proposal.add", "Stream it", *arguments, "--as", "swift-otter", "--content", "in chunks")
    assert new["metadata"] == json.loads(metadata)
    renamed = proposal.add(Context(), "Read", work.initiative, "task", target=work.task[:8])
    wrong = proposal.add(Context(), "Bad", work.initiative, "phase", metadata='{"colour": "red"}')
    assert (
        work.inv("proposal.list", "--status", "pending", "--initiative", work.initiative).stdout.count("pending") == 3
    )
    ids = [page["id"] for page in (new, renamed)]
    said = work.refuses("proposal.accept", ",".join([*ids, wrong["id"]]))
    assert "no field `colour`" in said
    assert len(proposal.list_(Context(), as_="swift-otter", status="pending")) == 3
    made, changed = work.json("proposal.accept", ",".join(ids))
    assert (made["task"]["priority"], made["task"]["description"], made["changed"]) == ("high", "in chunks", False)
    assert (changed["task"]["id"], changed["task"]["name"], changed["changed"]) == (work.task, "Read", True)
    assert work.inv("proposal.dismiss", wrong["id"]).stdout == f"dismissed {wrong['id'][:8]}  Bad\n"
    with pytest.raises(ConflictError, match="was dismissed already"):
        proposal.accept(Context(), wrong["id"])
    for fields in ("[]", "{"):
        with pytest.raises(LedgerError, match="--metadata is not"):
            proposal.add(Context(), "Bad", work.initiative, "task", metadata=fields)
    with pytest.raises(NotFoundError, match=r"phase .* does not exist"):
        proposal.add(Context(), "Bad", work.initiative, "phase", target=work.task)


def test_a_metadata_cannot_leave_its_initiative(work):
    """What is made belongs to the initiative that it was proposed for, whatever the agent wrote."""
    with ledger_of(current_project()).write() as tx:
        other = tx.initiatives.create(name="Other").id
    proposed = proposal.add(Context(), "Sneak", work.initiative, "phase", metadata=json.dumps({"initiative_id": other}))
    [made] = proposal.accept(Context(), proposed["id"])
    assert made["phase"]["initiative_id"] == work.initiative


def test_chats_are_opened_and_closed(work, monkeypatch):
    """One goes on about each phase or task; closed is for good."""
    opened = work.json("chat.open", "--task", work.task[:8], "--as", "swift-otter")
    assert chat.open_(Context(), task=work.task)["id"] == opened["id"]
    assert chat.open_(Context(), phase=work.phase)["id"] != opened["id"]
    work.json("chat.say", opened["id"], "how large?")
    spoken(monkeypatch, "at most\n1 GB\n")
    chat.say(Context(), opened["id"], "-", role="assistant")
    shown = work.inv("chat.show", opened["id"]).stdout
    assert shown == "user:\n  how large?\n\nassistant:\n  at most\n  1 GB\n"
    assert f"closed chat {opened['id'][:8]}" in work.inv("chat.close", opened["id"]).stdout
    assert "is closed" in work.refuses("chat.say", opened["id"], "still there?")
    assert [row["id"] for row in work.json("chat.list", "--status", "closed")] == [opened["id"]]
    with pytest.raises(LedgerError, match="`god` is not a role"):
        chat.say(Context(), opened["id"], "x", role="god")
    with pytest.raises(LedgerError, match="either --phase ID or --task ID"):
        chat.open_(Context(), phase=work.phase, task=work.task)
    with pytest.raises(NotFoundError, match=r"hint: inv chat\.list"):
        chat.show(Context(), "nonesuch")


def test_review_comments_show_in_diff(work):
    """Open comments stand below the lines that they are on; those on other lines at the end."""
    assert "has no branch" in work.refuses("review.diff", work.phase)
    (work.path / "file").write_text("one\n-- two\nthree\n")
    work.commit("Base")
    work.git("switch", "--quiet", "--create", "feat")
    (work.path / "file").write_text("one\ntwo\nthree\nfour\n")
    work.commit("Work")
    work.git("switch", "--quiet", "main")
    with ledger_of(current_project()).write() as tx:
        tx.initiatives.update(work.initiative, branch="feat")
    added = work.json("review.add", work.phase, "file", "4", "why four?")
    removed = review.add(Context(), work.phase, "file", "2", "was\nit wrong?", type="removed", author="ada")
    context = review.add(Context(), work.phase, "file", "3", "hm", type="context")
    elsewhere = review.add(Context(), work.phase, "gone", "7", "where?")
    shown = work.inv("review.diff", work.phase).stdout
    body = shown[shown.index("@@ -1,3 +1,4 @@") :].splitlines()[1:]
    assert body == [
        " one",
        "--- two",
        f"  » {removed['id'][:8]} ada: was",
        "  » it wrong?",
        "+two",
        " three",
        f"  » {context['id'][:8]} you: hm",
        "+four",
        f"  » {added['id'][:8]} you: why four?",
        "",
        "on lines that the diff does not show:",
        "gone:7",
        f"  » {elsewhere['id'][:8]} you: where?",
    ]
    assert work.json("review.resolve", added["id"])["resolved"] is True
    assert len(work.json("review.diff", work.phase)["comments"]) == 3
    listed = work.inv("review.list", work.phase, "--open").stdout
    assert added["id"][:8] not in listed
    assert f"{removed['id'][:8]}  open   file:2" in listed
    assert work.json("review.unresolve", added["id"])["resolved"] is False
    assert "deleted comment" in work.inv("review.delete", elsewhere["id"]).stdout
    assert len(review.list_(Context(), work.phase)) == 3
    work.git("merge", "--quiet", "feat")
    assert "changes nothing" in work.inv("review.diff", work.phase).stdout
    with ledger_of(current_project()).write() as tx:
        tx.phases.update(work.phase, merge_base=work.git("rev-parse", "main~1"))
    assert "+four" in work.inv("review.diff", work.phase).stdout
    for line in ("0", "x"):
        with pytest.raises(LedgerError, match="not a line number"):
            review.add(Context(), work.phase, "file", line, "x")
