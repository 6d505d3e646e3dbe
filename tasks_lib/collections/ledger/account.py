"""The logins that agents work on, which take turns."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.collections._arguments import NOTHING_READY, read_text
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, OptionalPositional, task
from tasks_lib.collections.views.results import preview
from tasks_lib.collections.views.rows import row_for_json, rows_for_json
from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import age, pairs, table
from tasks_lib.workflows.ledger_access import ledger_of

if TYPE_CHECKING:
    from invoke.context import Context

    from tasks_lib.ledger.schema.agents import Account

_ACCOUNT_HELP = "The account: its address, its id, or the id's beginning."
_PROVIDER_HELP = "Whose account it is; `claude` when not given."


@task(
    help={
        "email": "Its address, by which people know it.",
        "provider": _PROVIDER_HELP,
        "credentials-file": "The file that logs in with it; `-` reads it from standard input. There is no flag for the"
        " credentials themselves: everybody sees the arguments of a process.",
    }
)
def add(c: Context, email: str, provider: str = "claude", credentials_file: str = "", json: bool = False) -> Answer:
    """
    Add an account, or give one that is known new credentials

    They are kept in the ledger and never printed: `account.next --write FILE`
    hands them on.
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"add the account {email} of {provider}"])
    credentials = _credentials(credentials_file)
    with ledger_of(project).write() as tx:
        others = tx.accounts.find_all(provider=provider)
        known = next((one for one in others if one.email == email), None)
        if known and not credentials:
            raise ConflictError(f"account `{email}` of {provider} is known", hint="inv account.list")
        if known:
            account = tx.accounts.update(known.id, credentials=credentials)
        else:
            last = max((one.sort_order for one in others), default=0)
            account = tx.accounts.create(email=email, provider=provider, credentials=credentials, sort_order=last + 1)
    return Answer(row_for_json(account), pairs([("account", account.email), ("id", account.id)]))


@task(name="list", default=True)
def list_(c: Context, json: bool = False) -> Answer:
    """
    List the accounts: whose turn was when, which are exhausted
    """
    with ledger_of(current_project()).read() as tx:
        found = tx.accounts.find_all()
    if not found:
        return Answer([], "no accounts; one is added by inv account.add EMAIL --credentials-file FILE")
    rows = [
        (
            short_id(one.id),
            one.email,
            one.provider,
            _state(one),
            "yes" if one.credentials else "no",
            f"{age((datetime.now(UTC) - one.last_used_at).total_seconds())} ago" if one.last_used_at else "never",
        )
        for one in found
    ]
    return Answer(rows_for_json(found), table(("ID", "EMAIL", "PROVIDER", "STATE", "CREDENTIALS", "USED"), rows))


@task(
    name="next",
    help={
        "provider": _PROVIDER_HELP,
        "write": "Write its credentials to this new file, of mode 0600; an existing one is refused, and no turn taken.",
    },
)
def next_(c: Context, provider: str = "claude", write: str = "", json: bool = False) -> Answer:
    """
    Take the account whose turn it is: the one used longest ago

    Two that ask at once get two of them. Exit status 3 when all are exhausted,
    with the time when the first is free again, where that is known.
    """
    project = current_project()
    ledger = ledger_of(project)
    if c.config.run.dry:
        with ledger.read() as tx:
            account = tx.accounts.peek(provider)
        return preview([f"take {account.email if account else 'none, as all are exhausted'}"])
    with ledger.write() as tx:
        account = tx.accounts.find_next_available(provider)
        free_at = None if account else tx.accounts.earliest_reset(provider)
        if account and write:
            _write(account, Path(write))  # an error takes the turn back
    data = {"account": row_for_json(account) if account else None, "free_at": free_at and free_at.isoformat()}
    if account is None:
        when = f"; the first is free at {free_at:%Y-%m-%d %H:%M} UTC" if free_at else ""
        return Answer(data, f"no account of {provider} is free{when}", ok=False, status=NOTHING_READY)
    return Answer(data, pairs([("account", account.email), ("id", account.id)]))


@task(
    help={
        "account": _ACCOUNT_HELP,
        "until": "When its limit ends: 5h, 30m or 2026-03-01T18:00; until `account.clear` when not given.",
    }
)
def exhausted(c: Context, account: str, until: str = "", json: bool = False) -> Answer:
    """
    Take an account out of turn until its limit ends

    Never shortens what somebody else has said of it.
    """
    project = current_project()
    moment = _moment(until)
    if c.config.run.dry:
        return preview([f"take {account} out of turn"])
    with ledger_of(project).write() as tx:
        found = tx.accounts.mark_exhausted(tx.accounts.named(account).id, moment)
    return Answer(row_for_json(found), f"{found.email} is {_state(found)}")


@task(klass=OptionalPositional, help={"account": f"{_ACCOUNT_HELP} All whose limit has ended when not given."})
def clear(c: Context, account: str = "", json: bool = False) -> Answer:
    """
    Give an account its turn again
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"give {account or 'those whose limit has ended'} a turn again"])
    with ledger_of(project).write() as tx:
        if account:
            tx.accounts.update(tx.accounts.named(account).id, is_exhausted=False, exhausted_until=None)
        count = 1 if account else tx.accounts.clear_expired_exhaustion(tx.clock())
    return Answer({"cleared": count}, f"cleared {count}")


@task(help={"account": _ACCOUNT_HELP})
def delete(c: Context, account: str, json: bool = False) -> Answer:
    """
    Delete an account and its credentials

    Agents that worked on it stay.
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"delete the account {account}"])
    with ledger_of(project).write() as tx:
        found = tx.accounts.named(account)
        tx.accounts.delete(found.id)
    return Answer(row_for_json(found), f"deleted {found.email}")


def _credentials(file: str) -> str | None:
    """Return what is in *file*; an error never quotes it."""
    if not file:
        return None
    try:
        text = read_text("-") if file == "-" else Path(file).expanduser().read_text()
    except OSError as error:
        raise LedgerError(f"`{file}` cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LedgerError(f"`{file}` is not UTF-8 text") from None
    if not text.strip():
        raise LedgerError("the credentials are empty")
    return text


def _write(account: Account, file: Path) -> None:
    """Write an account's credentials to a new *file* that only its owner can read."""
    if account.credentials is None:
        raise LedgerError(
            f"account `{account.email}` has no credentials",
            hint=f"inv account.add {account.email} --credentials-file FILE",
        )
    try:
        # O_EXCL follows no link, either.
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as opened:
            opened.write(account.credentials)
    except OSError as error:
        raise LedgerError(f"`{file}` cannot be written: {error.strerror}", why="no turn was taken") from None


def _moment(text: str) -> datetime | None:
    """Return when a limit ends: after a duration from now, or at a time, which is local unless it says so."""
    from tasks_lib.errors import SettingsError
    from tasks_lib.settings.values import Origin, parse_duration

    if not text:
        return None
    try:
        return datetime.now(UTC) + parse_duration(Origin(text, "--until"), "it")
    except SettingsError:
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except ValueError:
            raise LedgerError(f"`{text}` is no time", hint="write it as 5h, 30m or 2026-03-01T18:00") from None


def _state(account: Account) -> str:
    if not account.is_exhausted:
        return "free"
    until: Any = account.exhausted_until
    if until is None:
        return "exhausted until it is cleared"
    return "free" if until <= datetime.now(UTC) else f"exhausted until {until:%Y-%m-%d %H:%M} UTC"
