"""
A client for two resources of Twilio's REST API: an account's phone numbers, and subaccounts by name.

The format of all responses: https://www.twilio.com/docs/usage/twilios-response.

We do not use Twilio's SDK (`twilio` on PyPI): it installs more than 10 MB of code for every resource, and we need two.
Most of this file is about retries, page limits and errors without secrets, which the SDK's user has to add as well.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tasks_lib.errors import TwilioError
from tasks_lib.output import format_age

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from requests import Response, Session
    from urllib3 import BaseHTTPResponse, Retry

API = "https://api.twilio.com"

PAGE_SIZE = 200
"""Rows per page; Twilio's default is 50, its maximum 1000."""

PAGES = 500
"""The most pages to read of a list, in case a server sends an endless one."""

TIMEOUT = (10.0, 30.0)
"""Seconds to wait for a connection, and for a response."""

RETRIES = 3

BACKOFF = 1.0
"""Seconds before the first retry; doubled for each further one, plus a random time of up to half of this."""

LONGEST_WAIT = 60.0
"""The longest wait in seconds; if Twilio asks for a longer one, the error says when to try again."""

_ACCOUNTS = "/2010-04-01/Accounts"
LOOPBACK = re.compile(r"http://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?(/.*)?")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_NUMBER_SID = re.compile(r"PN[0-9a-f]{32}")
_ACCOUNT_SID = re.compile(r"AC[0-9a-f]{32}")


@dataclass(frozen=True)
class Account:
    """
    The login of a Twilio account.

    Attributes:
        sid: Not secret: it is part of every URL.
        token: The auth token, a secret.
        keys: The keys of `seed.env` that set the two, for hints.
    """

    sid: str
    token: str = field(repr=False)
    keys: tuple[str, str] = field(
        default=("TWILIO_WORKTREE_SUBACCOUNT_SID", "TWILIO_WORKTREE_SUBACCOUNT_TOKEN"), repr=False, compare=False
    )


@dataclass(frozen=True)
class Number:
    """
    A phone number of an account: one row of its `IncomingPhoneNumbers`.

    Attributes:
        number: In E.164: `+` and digits.
        sms, voice: Whether it can receive text messages, and calls.
        voice_webhook: Whether calls to it are handled: by a URL, an application or a SIP trunk.
    """

    number: str
    sid: str
    friendly_name: str
    sms: bool
    voice: bool
    voice_webhook: bool


@dataclass(frozen=True)
class Twilio:
    """
    A client that is logged in to *account*.

    Every method raises `TwilioError` if Twilio refuses, sends an invalid response or does not respond. No error
    contains the token.

    Args:
        say: Called with a line before each wait, for each further page, and for skipped rows.
        url: The API's URL without a trailing slash; plain HTTP only on this machine.
    """

    account: Account
    say: Callable[[str], object]
    url: str = API

    def __post_init__(self) -> None:
        if not (self.url.startswith("https://") or LOOPBACK.fullmatch(self.url)):
            raise TwilioError(
                "Twilio's URL does not begin with `https://`",
                why="the auth token would cross the network unencrypted",
                hint=f"correct TWILIO_API_URL in seed.env, or remove it to use {API}",
            )

    def numbers(self) -> list[Number]:
        """
        Return the account's phone numbers in Twilio's order, which is not stable.

        https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource
        """
        path = f"{_ACCOUNTS}/{self.account.sid}/IncomingPhoneNumbers.json?PageSize={PAGE_SIZE}"
        with self._session() as session:
            rows = self._rows(session, path, "incoming_phone_numbers")
        numbers = [number for row in rows if (number := self._number(row))]
        # A number that is bought while we read moves rows to the next page, so they come twice.
        return list({number.sid: number for number in numbers}.values())

    def subaccount(self, name: str) -> Account:
        """
        Return the active subaccount whose friendly name is *name*; create it if it does not exist.

        https://www.twilio.com/docs/iam/api/subaccounts
        """
        query = urlencode({"FriendlyName": name, "Status": "active", "PageSize": PAGE_SIZE})
        with self._session() as session:
            rows = self._rows(session, f"{_ACCOUNTS}.json?{query}", "accounts")
            # The list includes the account itself.
            others = [row for row in rows if row.get("sid") != self.account.sid]
            found = [row for row in others if (row.get("friendly_name"), row.get("status")) == (name, "active")]
            if found:
                row = min(found, key=lambda row: str(row.get("sid")))
            else:
                row = self._ask(session, "POST", f"{_ACCOUNTS}.json", {"FriendlyName": name})
        sid, token = row.get("sid"), row.get("auth_token")
        if not (isinstance(sid, str) and _ACCOUNT_SID.fullmatch(sid) and isinstance(token, str) and token):
            raise _nonsense("a subaccount without `sid` or `auth_token`")
        return Account(sid, token, self.account.keys)

    def _number(self, row: Mapping[str, Any]) -> Number | None:
        """Return the phone number in *row*; None if it cannot be called."""
        try:
            number, sid, capabilities = row["phone_number"], row["sid"], row["capabilities"]
            sms, voice = capabilities["sms"], capabilities["voice"]
        except (KeyError, TypeError):
            raise _nonsense("a phone number without its number, SID or capabilities") from None
        if not (_E164.fullmatch(str(number)) and _NUMBER_SID.fullmatch(str(sid))):
            self.say(f"skipped {number!r} (SID {sid!r}), which is not a phone number in E.164")
            return None
        return Number(
            number=number,
            sid=sid,
            friendly_name=_plain(row.get("friendly_name") or number),
            sms=sms is True,
            voice=voice is True,
            voice_webhook=any(row.get(key) for key in ("voice_url", "voice_application_sid", "trunk_sid")),
        )

    def _rows(self, session: Session, path: str, key: str) -> list[dict[str, Any]]:
        """Return the rows under *key* of all pages of the list at *path*."""
        rows: list[dict[str, Any]] = []
        seen: set[str] = set()
        while path:
            if path in seen or len(seen) == PAGES:
                raise _nonsense(f"a list that does not end after {len(seen)} pages")
            if seen:
                self.say(f"Twilio has more than {len(rows)} {key.replace('_', ' ')}; reading on")
            seen.add(path)
            page = self._ask(session, "GET", path)
            found, path = page.get(key), page.get("next_page_uri", "nowhere")
            if not (isinstance(found, list) and all(isinstance(row, dict) for row in found)):
                raise _nonsense(f"a page without `{key}`")
            # Null at the end, else relative to the API's URL; another host would get our credentials.
            if path and not re.match("/(?!/)", str(path)):
                raise _nonsense("a page whose `next_page_uri` is missing, or leads to another host")
            rows += found
        return rows

    def _ask(self, session: Session, method: str, path: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Send a request and return the JSON object of the response."""
        from urllib3.exceptions import HTTPError

        started = time.monotonic()
        try:
            response = session.request(method, self.url + path, data=form, timeout=TIMEOUT, allow_redirects=False)
        # Everything that requests raises is an OSError; so is the error about a CA bundle that does not exist.
        except (OSError, HTTPError) as error:
            raise TwilioError(
                f"Twilio cannot be reached: {_words(error)}",
                why=f"given up after {format_age(time.monotonic() - started)}",
                hint="check the network, HTTPS_PROXY and https://status.twilio.com, and run it again",
            ) from None
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        if response.status_code not in {200, 201}:
            raise self._refusal(response, body if isinstance(body, dict) else {}, time.monotonic() - started)
        if not isinstance(body, dict):
            raise _nonsense("no JSON object")
        return body

    def _refusal(self, response: Response, body: Mapping[str, Any], seconds: float) -> TwilioError:
        """Return the error for a refusal that took *seconds*."""
        status, code = response.status_code, body.get("code", "")
        said = _plain(f"{code} {body.get('message') or response.reason}").strip()
        said = said.replace(self.account.token or "\0", "…")
        if status in {401, 403}:
            sid, token = self.account.keys
            return TwilioError(
                f"Twilio refuses the account `{self.account.sid}`: {said}", hint=f"correct {sid} / {token} in seed.env"
            )
        why = hint = ""
        if response.is_redirect:
            why = "redirects are not followed, because another host would get the credentials"
        elif status == 429 or status >= 500:
            why, hint = f"given up after {format_age(seconds)}", "see https://status.twilio.com, and run it again later"
        elif isinstance(code, int):
            hint = f"see https://www.twilio.com/docs/api/errors/{code}"
        return TwilioError(f"Twilio answers {status}: {said}", why=why, hint=hint)

    def _session(self) -> Session:
        """Return a session with login and retries."""
        # Importing requests takes 70 ms, so import it only to ask Twilio.
        from requests import Session
        from requests.adapters import HTTPAdapter
        from requests.auth import HTTPBasicAuth

        session = Session()
        # Pass bytes: requests encodes text as Latin-1, and a token with other characters would appear in a traceback.
        session.auth = HTTPBasicAuth(self.account.sid.encode(), self.account.token.encode())
        # Do not send plain HTTP for this machine through a proxy, which could read it.
        session.trust_env = self.url.startswith("https://")
        session.mount(self.url, HTTPAdapter(max_retries=_patience(self.say)))
        return session


def _patience(say: Callable[[str], object]) -> Retry:
    """
    Return which requests are sent again, and when; *say* is called before each wait.

    GET is repeated after every transient error, POST only if Twilio did nothing: no connection, or 429, "not processed"
    (https://www.twilio.com/docs/api/errors/20429).
    """
    from urllib3 import Retry

    class Patience(Retry):
        def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:  # noqa: ARG002
            return status_code == 429 or (status_code >= 500 and method == "GET")

        def sleep(self, response: BaseHTTPResponse | None = None) -> None:
            last = self.history[-1]
            problem = f"cannot be reached: {_words(last.error)}" if last.error else f"answers {last.status}"
            wait = (response and self.get_retry_after(response)) or self.get_backoff_time() or BACKOFF
            if wait > LONGEST_WAIT:
                raise TwilioError(f"Twilio {problem}, and asks us to wait", hint=f"run it again in {format_age(wait)}")
            say(f"Twilio {problem}; trying again in {format_age(wait)}")
            time.sleep(wait)

    return Patience(
        total=RETRIES,
        other=0,  # a retry does not make a certificate valid
        allowed_methods={"GET"},
        backoff_factor=BACKOFF,
        backoff_jitter=BACKOFF / 2,
        raise_on_status=False,
    )


def _nonsense(found: str) -> TwilioError:
    return TwilioError(
        f"Twilio answers nonsense: {found}",
        hint="check TWILIO_API_URL in seed.env and HTTPS_PROXY: another server may answer in its place",
    )


def _plain(text: object) -> str:
    """Return *text* without control characters, which terminals and PostgreSQL do not accept."""
    return "".join(character for character in str(text) if character.isprintable())


def _words(error: BaseException) -> str:
    """Return the innermost message of *error*; the outer ones contain URLs and addresses of objects."""
    from urllib3.exceptions import LocationValueError

    while isinstance(inner := getattr(error, "reason", None) or (error.args or [None])[-1], BaseException):
        error = inner
    if isinstance(error, LocationValueError):  # its message would contain a proxy's password
        return "its URL, or that of a proxy, is malformed"
    return re.split(r"[)>]: ", str(error), maxsplit=1)[-1] or type(error).__name__
