"""The accounts that agents log in with, used in turn."""

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
from tasks_lib.output import format_age, format_pairs, format_table
from tasks_lib.program_name import name_program
from tasks_lib.workflows.ledger_access import ledger_of

if TYPE_CHECKING:
    from invoke.context import Context

    from tasks_lib.ledger.schema.agents import Account

_ACCOUNT_HELP = "The account: its address, its id, or the id's beginning."
_PROVIDER_HELP = "The account's provider; `claude` when not given."


@task(
    help={
        "email": "The account's email address.",
        "provider": _PROVIDER_HELP,
        "credentials-file": "The file with its credentials; `-` reads standard input. No flag takes the credentials"
        " themselves, because every user can see the arguments of a process.",
    },
    returns="*account*: `{id, email, provider, credentials: true or false, …}`",
)
def add(c: Context, email: str, provider: str = "claude", credentials_file: str = "", json: bool = False) -> Answer:
    """
    Add an account, or replace the credentials of an existing one

    The ledger stores credentials and never prints them; `account.next --write FILE`
    writes them to a file.
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"add the account {email} of {provider}"])
    credentials = _credentials(credentials_file)
    with ledger_of(project).write() as tx:
        others = tx.accounts.find_all(provider=provider)
        known = next((other for other in others if other.email == email), None)
        if known and not credentials:
            raise ConflictError(f"account `{email}` of {provider} exists already", hint="inv account.list")
        if known:
            account = tx.accounts.update(known.id, credentials=credentials)
        else:
            last = max((other.sort_order for other in others), default=0)
            account = tx.accounts.create(email=email, provider=provider, credentials=credentials, sort_order=last + 1)
    return Answer(row_for_json(account), format_pairs([("account", account.email), ("id", account.id)]))


@task(reads=True, name="list", default=True, returns="`[account]`")
def list_(c: Context, json: bool = False) -> Answer:
    """
    List the accounts: state, credentials, last use
    """
    with ledger_of(current_project(looks=True)).read() as tx:
        found = tx.accounts.find_all()
    if not found:
        return Answer([], name_program("no accounts; add one with inv account.add EMAIL --credentials-file FILE"))
    now = datetime.now(UTC)
    rows = [
        (
            short_id(account.id),
            account.email,
            account.provider,
            _state(account),
            "yes" if account.credentials else "no",
            f"{format_age((now - account.last_used_at).total_seconds())} ago" if account.last_used_at else "never",
        )
        for account in found
    ]
    return Answer(rows_for_json(found), format_table(("ID", "EMAIL", "PROVIDER", "STATE", "CREDENTIALS", "USED"), rows))


@task(
    name="next",
    help={
        "provider": _PROVIDER_HELP,
        "write": "Write its credentials to this new file with mode 0600; if it exists, no turn is taken.",
    },
    returns="`{account or null, free_at}`",
)
def next_(c: Context, provider: str = "claude", write: str = "", json: bool = False) -> Answer:
    """
    Take the next account: the one used longest ago

    Concurrent calls get different accounts. Exit status 3 when all are exhausted,
    with the time when the first is free again, if known.
    """
    project = current_project()
    ledger = ledger_of(project)
    if c.config.run.dry:
        with ledger.read() as tx:
            account = tx.accounts.peek(provider)
        return preview([f"take {account.email if account else 'no account: all are exhausted'}"])
    with ledger.write() as tx:
        account = tx.accounts.find_next_available(provider)
        free_at = None if account else tx.accounts.earliest_reset(provider)
        if account and write:
            _write(account, Path(write))  # an error rolls the turn back
    data = {"account": row_for_json(account) if account else None, "free_at": free_at and free_at.isoformat()}
    if account is None:
        when = f"; the first is free at {free_at:%Y-%m-%d %H:%M} UTC" if free_at else ""
        return Answer(data, f"no account of {provider} is free{when}", ok=False, status=NOTHING_READY)
    return Answer(data, format_pairs([("account", account.email), ("id", account.id)]))


@task(
    help={
        "account": _ACCOUNT_HELP,
        "until": "When its limit ends: 5h, 30m or 2026-03-01T18:00; until `account.clear` when not given.",
    },
    returns="*account*: `{id, email, provider, credentials: true or false, …}`",
)
def exhausted(c: Context, account: str, until: str = "", json: bool = False) -> Answer:
    """
    Mark an account as exhausted until its limit ends

    Never shortens a limit that is already recorded.
    """
    project = current_project()
    moment = _moment(until)
    if c.config.run.dry:
        return preview([f"mark {account} as exhausted"])
    with ledger_of(project).write() as tx:
        found = tx.accounts.mark_exhausted(tx.accounts.named(account).id, moment)
    return Answer(row_for_json(found), f"{found.email} is {_state(found)}")


@task(
    klass=OptionalPositional,
    help={"account": f"{_ACCOUNT_HELP} All accounts whose limit has ended when not given."},
    returns="`{cleared}`",
)
def clear(c: Context, account: str = "", json: bool = False) -> Answer:
    """
    Make an exhausted account available again
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"make {account or 'accounts whose limit has ended'} available again"])
    with ledger_of(project).write() as tx:
        if account:
            tx.accounts.update(tx.accounts.named(account).id, is_exhausted=False, exhausted_until=None)
        count = 1 if account else tx.accounts.clear_expired_exhaustion(tx.clock())
    return Answer({"cleared": count}, f"cleared {count}")


@task(help={"account": _ACCOUNT_HELP}, returns="*account*: `{id, email, provider, credentials: true or false, …}`")
def delete(c: Context, account: str, json: bool = False) -> Answer:
    """
    Delete an account and its credentials

    Agents that used it stay.
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"delete the account {account}"])
    with ledger_of(project).write() as tx:
        found = tx.accounts.named(account)
        tx.accounts.delete(found.id)
    return Answer(row_for_json(found), f"deleted {found.email}")


def _credentials(file: str) -> str | None:
    """Return the contents of *file*; errors never quote them."""
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
        # O_EXCL also refuses a symbolic link.
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as opened:
            try:
                opened.write(account.credentials)
                opened.flush()
            except OSError:
                file.unlink()  # on a full disk; the same command would refuse to replace it
                raise
    except OSError as error:
        raise LedgerError(f"`{file}` cannot be written: {error.strerror}", why="no turn was taken") from None


def _moment(text: str) -> datetime | None:
    """Parse *text*, a duration from now or a time, local unless it has an offset; None if it is empty."""
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
            raise LedgerError(f"`{text}` is not a time", hint="write it as 5h, 30m or 2026-03-01T18:00") from None


def _state(account: Account) -> str:
    if not account.is_exhausted:
        return "free"
    until: Any = account.exhausted_until
    if until is None:
        return "exhausted until it is cleared"
    return "free" if until <= datetime.now(UTC) else f"exhausted until {until:%Y-%m-%d %H:%M} UTC"
