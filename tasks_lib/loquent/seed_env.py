"""
Read the main worktree's `seed.env`: the account's logins, its Twilio account, its Stripe keys.

Only that file counts, not the process environment, so that a variable that the shell exports never gets into a golden
template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING

from tasks_lib.errors import SettingsError
from tasks_lib.loquent.twilio import API, LOOPBACK, Account
from tasks_lib.settings import env_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Form:
    """
    The format of a value.

    Attributes:
        what: Completes "is not …" in errors.
        pattern: A regular expression for the whole value.
        cure: What to write instead.
        is_public: Whether errors may show the value.
    """

    what: str
    pattern: str
    cure: str
    is_public: bool = False


def _sid(prefix: str, what: str) -> Form:
    """Return the form of one kind of SID: https://www.twilio.com/docs/glossary/what-is-a-sid."""
    pattern = f"{prefix}[0-9a-f]{{32}}"
    return Form(f"the SID of {what}", pattern, f"such a SID is `{prefix}` and 32 hexadecimal digits")


_ACCOUNT = _sid("AC", "an account")
_SUBSCRIPTION = _sid("DF", "an event subscription")

_WORD = r"[!\"$-~][!-~]*"
"""Printable ASCII that does not begin with `#`: python-dotenv reads the comment in `KEY= # …` as the value."""

_SECRET = Form("a Twilio secret", _WORD, "write the secret as one word, and comments on separate lines")
_STRIPE = Form(
    "a key of a Stripe sandbox",
    rf"(?![a-z]+_live_){_WORD}",
    "a live key does not belong in a development database; copy the sandbox's from its Developers page",
)
_EMAIL = Form("an email address", r"[!-?A-~]+@[A-Za-z0-9.-]+", "write it as name@example.com", is_public=True)

_SWITCH = Form("a switch", "[01]", "write 1 or 0", is_public=True)
_URL = Form(
    "an https URL, nor an http one of this machine",
    rf"https://[^\s/?#@]+(/[^\s?#@]*)?|{LOOPBACK.pattern}",
    "write it without user, password and query",
)

_SUBACCOUNT, _SUBACCOUNT_TOKEN = "TWILIO_WORKTREE_SUBACCOUNT_SID", "TWILIO_WORKTREE_SUBACCOUNT_TOKEN"
_API_KEY, _API_KEY_SECRET = "TWILIO_WORKTREE_API_KEY_SID", "TWILIO_WORKTREE_API_KEY_SECRET"


@dataclass(frozen=True)
class Key:
    """
    A key of `seed.env`.

    Attributes:
        name: Its name in the file.
        form: The format of its value.
        why: Its purpose, in one line.
        default: The value if the key is missing or empty; may be empty.
        needs: Keys that must be set, too.
    """

    name: str
    form: Form
    why: str
    default: str = ""
    needs: tuple[str, ...] = ()


KEYS = (
    Key(_SUBACCOUNT, _ACCOUNT, "the shared Twilio account", needs=(_SUBACCOUNT_TOKEN,)),
    Key(_SUBACCOUNT_TOKEN, _SECRET, "its auth token", needs=(_SUBACCOUNT,)),
    Key("TWILIO_WORKTREE_EVENT_SINK_SID", _sid("DG", "an event sink"), "its event sink", needs=(_SUBACCOUNT,)),
    Key("TWILIO_WORKTREE_SMS_SUBSCRIPTION_SID", _SUBSCRIPTION, "for events of messages", needs=(_SUBACCOUNT,)),
    Key("TWILIO_WORKTREE_CALL_SUBSCRIPTION_SID", _SUBSCRIPTION, "for events of calls", needs=(_SUBACCOUNT,)),
    Key("TWILIO_WORKTREE_TWIML_APP_SID", _sid("AP", "a TwiML app"), "its TwiML app", needs=(_SUBACCOUNT,)),
    Key(_API_KEY, _sid("SK", "an API key"), "its API key", needs=(_API_KEY_SECRET, _SUBACCOUNT)),
    Key(_API_KEY_SECRET, _SECRET, "that key's secret", needs=(_API_KEY,)),
    Key("TWILIO_ACCOUNT_SID", _ACCOUNT, "the account to make a subaccount of", needs=("TWILIO_AUTH_TOKEN",)),
    Key("TWILIO_AUTH_TOKEN", _SECRET, "that account's auth token", needs=("TWILIO_ACCOUNT_SID",)),
    Key("TWILIO_API_URL", _URL, "a stand-in or a proxy for Twilio", API),
    Key("STRIPE_SECRET_KEY", _STRIPE, "the Stripe sandbox's secret key"),
    Key("STRIPE_WEBHOOK_SECRET", _STRIPE, "the signing secret of its webhook"),
    Key("SEED_SAMPLE_DATA", _SWITCH, "whether there are contacts", "1"),
    Key("SEED_OWNER_EMAIL", _EMAIL, "who signs in as the owner", "owner@example.com"),
    Key("SEED_SECOND_STAFF_EMAIL", _EMAIL, "who signs in as a member without a role", "staff@example.com"),
)
"""The keys that are read, in the order of `seed.env.example`; a test compares the two."""

_OURS = ("TWILIO_WORKTREE_", "SEED_")
"""Prefixes of keys that only goldentree uses; other unknown keys belong to other programs."""

_TELLING = re.compile(r"[A-Z]{2}(?=[0-9a-f]{32}\Z)|[a-z]+_(live|test)_|#")
"""The part of a secret that errors may show: it says what kind of secret it is."""


@dataclass(frozen=True)
class Shared:
    """The Twilio account that all worktrees share, and the Twilio resources that it already uses."""

    account: Account
    event_sink_sid: str | None
    sms_subscription_sid: str | None
    call_subscription_sid: str | None
    twiml_app_sid: str | None
    api_key_sid: str | None
    api_key_secret: str | None = field(repr=False)


WIRING = tuple(column.name for column in fields(Shared))[1:]
"""The fields that may be None. Columns of the settings table have the same names, keys also a `TWILIO_WORKTREE_`."""


@dataclass(frozen=True)
class Seed:
    """
    The contents of `seed.env`.

    Attributes:
        owner_email, staff_email: In lower case, and different.
        shared: The Twilio account to use.
        parent: Without *shared*, the Twilio account in which to make a subaccount.
        stripe: The Stripe keys that are set, for the migrate command's environment.
        twilio_url: Without a trailing slash.
    """

    owner_email: str
    staff_email: str
    sample_data: bool
    shared: Shared | None
    parent: Account | None
    stripe: Mapping[str, str] = field(repr=False)
    twilio_url: str

    @property
    def secrets(self) -> frozenset[str]:
        """Every value that must be masked before text is printed."""
        accounts = [self.shared.account if self.shared else None, self.parent]
        found = {account.token for account in accounts if account} | set(self.stripe.values())
        if self.shared and self.shared.api_key_secret:
            found.add(self.shared.api_key_secret)
        return frozenset(found)


def load_seed_env(path: Path) -> Seed:
    """
    Read the `seed.env` at *path*; if it does not exist, use the defaults.

    Raises:
        SettingsError: If it cannot be read, or a key or value in it is invalid; the error shows no secret.
    """
    values = _values(path)
    owner, staff = values["SEED_OWNER_EMAIL"].lower(), values["SEED_SECOND_STAFF_EMAIL"].lower()
    if owner == staff:
        raise SettingsError(
            f"the owner and the second member are both `{owner}` in `{path}`",
            why="an email address is the login of one user",
            hint="change SEED_OWNER_EMAIL or SEED_SECOND_STAFF_EMAIL",
        )
    return Seed(
        owner_email=owner,
        staff_email=staff,
        sample_data=values["SEED_SAMPLE_DATA"] == "1",
        shared=_shared(values),
        parent=_account(values, "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"),
        stripe={key.name: values[key.name] for key in KEYS if key.form is _STRIPE and values[key.name]},
        twilio_url=values["TWILIO_API_URL"].rstrip("/"),
    )


def _shared(values: Mapping[str, str]) -> Shared | None:
    account = _account(values, _SUBACCOUNT, _SUBACCOUNT_TOKEN)
    wiring = {name: values[f"TWILIO_WORKTREE_{name.upper()}"] or None for name in WIRING}
    return Shared(account, **wiring) if account else None


def _account(values: Mapping[str, str], sid: str, token: str) -> Account | None:
    return Account(values[sid], values[token], keys=(sid, token)) if values[sid] else None


def _require_whole(path: Path) -> None:
    """Check that no line of the file at *path* would be ignored silently."""
    from dotenv.parser import parse_stream

    if not path.is_file():
        if path.exists() or path.is_symlink():
            raise SettingsError(f"`{path}` is not a regular file", hint=f"replace it by a file:\nls -ld {path}")
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        broken = [binding.original.line for binding in parse_stream(file) if binding.error]
    if broken:
        raise SettingsError(
            f"line {broken[0]} of `{path}` cannot be parsed",
            why="its key would be ignored silently",
            hint="write it as KEY=value, and close each quote",
        )


def _values(path: Path) -> dict[str, str]:
    """Return the valid value of every key; empty if it has none."""
    found = {name: value.strip() for name, value in env_values(path).items()}
    _require_whole(path)
    values = {key.name: found.get(key.name) or key.default for key in KEYS}
    for name in found:
        if name.startswith(_OURS) and name not in values:
            nearest = get_close_matches(name, values, n=1, cutoff=0)[0]
            raise SettingsError(
                f"unknown key `{name}` in `{path}`",
                why="a misspelt key would be ignored silently",
                hint=f"the most similar key is {nearest}",
            )
    for key in KEYS:
        value = values[key.name]
        if value and not re.fullmatch(key.form.pattern, value):
            telling = _TELLING.match(value)
            shown = f"found `{value}`" if key.form.is_public else f"it begins with `{telling[0]}`" if telling else ""
            raise SettingsError(f"`{key.name}` in `{path}` is not {key.form.what}", why=shown, hint=key.form.cure)
        lacking = next((other for other in KEYS if other.name in key.needs and not values[other.name]), None)
        if value and lacking:
            raise SettingsError(
                f"`{key.name}` in `{path}` lacks `{lacking.name}`, {lacking.why}",
                why="the two belong together",
                hint=f"set {lacking.name}, or remove {key.name}",
            )
    return values
