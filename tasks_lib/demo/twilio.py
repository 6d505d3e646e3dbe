"""
A stand-in that plays Twilio on this machine, for the demo, the smoke session and the tests.

It answers as https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource and
https://www.twilio.com/docs/iam/api/account document it, in the fields that our client may look at, and fails on demand.
"""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import parse_qs, urlencode, urlsplit

from tasks_lib.loquent.twilio import Account

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Fault: TypeAlias = tuple[int, "Mapping[str, str]", object] | Literal["hang", "reset"]
"""Status, headers and body (text, or what is sent as JSON); or no answer at all."""

ACCOUNT = Account(f"AC{'5' * 32}", "stand-in" * 4)

_ACCOUNTS = "/2010-04-01/Accounts"


def phone_number(number: str, friendly_name: str, **fields: object) -> dict[str, Any]:
    """Return a row of `IncomingPhoneNumbers` that can do everything, but for what *fields* say."""
    return {
        "capabilities": {"voice": True, "sms": True, "mms": True, "fax": False},
        "friendly_name": friendly_name,
        "phone_number": number,
        "sid": f"PN{number.lstrip('+'):0>32}",
        "trunk_sid": None,
        "voice_application_sid": None,
        "voice_url": "https://loquent.example/twilio/voice",
        **fields,
    }


def refusal(status: int, code: int, message: str, **headers: str) -> tuple[int, dict[str, str], object]:
    """Return an answer in the shape of Twilio's errors."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return status, headers, {"code": code, "message": message, "more_info": more, "status": status}


NUMBERS = (phone_number("+15005550006", "Main line"),)
"""Of those that Twilio itself gives out for tests."""


@dataclass
class StandIn:
    """
    The stand-in as it plays.

    Attributes:
        requests: What it was asked: method and path with query.
        faults: What it answers first, one each time.
        accounts: All that it knows, its own first.
        ended: Until when `hang` lasts.
    """

    numbers: Sequence[Mapping[str, Any]]
    page_size: int
    url: str = ""
    account: Account = ACCOUNT
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    accounts: list[dict[str, Any]] = field(default_factory=list)
    ended: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.add_account("Parent", self.account)

    def add_account(self, name: str, account: Account) -> dict[str, Any]:
        """Open an account of that name, and return its row."""
        row = {
            "auth_token": account.token,
            "friendly_name": name,
            "sid": account.sid,
            "status": "active",
        }
        self.accounts.append(row)
        return row

    def answer(self, method: str, path: str, fields: Mapping[str, str]) -> tuple[int, Mapping[str, str], object]:
        """Return status, headers and body for a request that is logged in."""
        match method, path.removeprefix(_ACCOUNTS):
            case "GET", ".json":
                filters = {"friendly_name": fields.get("FriendlyName"), "status": fields.get("Status")}
                wanted = {(key, value) for key, value in filters.items() if value}
                found = [row for row in self.accounts if wanted <= row.items()]
                return 200, {}, self.page("accounts", found, path, fields)
            case "POST", ".json":
                made = Account(f"AC{len(self.accounts):032}", f"token-{len(self.accounts)}")
                return 201, {}, self.add_account(fields["FriendlyName"], made)
            case "GET", rest if rest == f"/{self.account.sid}/IncomingPhoneNumbers.json":
                return 200, {}, self.page("incoming_phone_numbers", self.numbers, path, fields)
        return refusal(404, 20404, f"The requested resource {path} was not found")

    def page(self, key: str, rows: Sequence[Mapping[str, Any]], path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """Return the page of *rows* that *fields* ask for."""
        size, number = min(int(fields.get("PageSize", 50)), self.page_size), int(fields.get("Page", 0))
        shown = rows[number * size :][:size]
        following = None
        if (number + 1) * size < len(rows):
            token = {"PageSize": size, "Page": number + 1, "PageToken": f"PA{shown[-1]['sid']}"}
            following = f"{path}?{urlencode({**fields, **token})}"
        return {key: shown, "page": number, "page_size": size, "next_page_uri": following}


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, play: StandIn, *connection: Any) -> None:
        self.play = play
        super().__init__(*connection)

    def do_GET(self) -> None:
        self.play.requests.append(f"{self.command} {self.path}")
        target = urlsplit(self.path)
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        fields = {key: values[-1] for key, values in parse_qs(target.query or form).items()}
        login = b64encode(f"{self.play.account.sid}:{self.play.account.token}".encode()).decode()
        if self.play.faults:
            fault = self.play.faults.pop(0)
            if fault == "hang":
                self.play.ended.wait()
            if isinstance(fault, str):
                return
            status, headers, body = fault
        elif self.headers.get("Authorization") != f"Basic {login}":
            status, headers, body = refusal(401, 20003, "Authenticate")
        else:
            status, headers, body = self.play.answer(self.command, target.path, fields)
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(content), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - same
        """Say nothing: stderr belongs to the narration."""


@contextmanager
def playing(numbers: Sequence[Mapping[str, Any]] = NUMBERS, page_size: int = 1000) -> Iterator[StandIn]:
    """
    Play Twilio on a free port of this machine.

    Args:
        numbers: Those of the account, as `phone_number` makes them.
        page_size: The most rows that a page has, whatever is asked for.
    """
    play = StandIn(numbers, page_size)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, play)) as server:
        play.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield play
        finally:
            play.ended.set()
            server.shutdown()
            thread.join()
