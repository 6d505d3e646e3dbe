"""The client of Twilio's REST API, against the stand-in that plays Twilio."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from base64 import b64decode

import pytest
from requests import Request

from tasks_lib.demo.twilio import NUMBERS, phone_number, playing, refusal
from tasks_lib.errors import TwilioError
from tasks_lib.loquent import twilio
from tasks_lib.loquent.twilio import Account, Number, Twilio

BUSY = refusal(503, 20503, "Service Unavailable")
FORMER = "https://twilio.example/2010-04-01/Accounts.json"


@pytest.fixture
def play():
    with playing() as stand_in:
        yield stand_in


@pytest.fixture
def told():
    return []


@pytest.fixture
def ask(play, told, monkeypatch):
    """Give the test a client that waits for hundredths of a second between tries."""
    monkeypatch.setattr(twilio, "BACKOFF", 0.01)
    return Twilio(play.account, told.append, play.url)


@pytest.fixture
def _impatient(monkeypatch):
    """Let it wait for an answer a moment only, which is enough for one on a loaded machine."""
    monkeypatch.setattr(twilio, "TIMEOUT", (10, 0.3))


@pytest.fixture
def refused(play, told):
    """Return a function that calls another, and returns its error, which has no secret, nor has the progress."""

    def refused(call, *arguments):
        with pytest.raises(TwilioError) as caught:
            call(*arguments)
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__) + str(told)
        assert play.account.token not in shown
        return str(caught.value)

    return refused


def test_numbers_have_their_capabilities(play, ask):
    """Flags are those of Twilio; a call is handled by a URL, an application or a trunk."""
    nothing = {"voice_url": "", "voice_application_sid": "", "trunk_sid": None}
    deaf = {"capabilities": {"voice": False, "sms": False, "mms": True}}
    play.numbers = [
        phone_number("+15005550001", "Text alone", capabilities={"voice": False, "sms": True}, **nothing),
        phone_number("+15005550002", "", **{**nothing, **deaf}),
        phone_number("+15005550003", "App", **{**nothing, "voice_application_sid": f"AP{'a' * 32}"}),
        phone_number("+15005550004", "Trunk", **{**nothing, "trunk_sid": f"TK{'b' * 32}"}),
        *NUMBERS,
    ]

    found = {number.friendly_name: (number.sms, number.voice, number.voice_webhook) for number in ask.numbers()}

    assert found == {
        "Text alone": (True, False, False),
        "+15005550002": (False, False, False),
        "App": (True, True, True),
        "Trunk": (True, True, True),
        "Main line": (True, True, True),
    }
    assert ask.numbers()[-1] == Number("+15005550006", NUMBERS[0]["sid"], "Main line", True, True, True)


def test_all_pages_are_read(play, ask, told):
    """Every page is requested, a number that is on two pages is listed once, and progress is reported."""
    rows = [phone_number(f"+1500555{n:04}", f"Line {n}") for n in range(5)]
    play.numbers, play.page_size = [*rows[:2], rows[1], *rows[2:]], 2

    assert [number.number for number in ask.numbers()] == [row["phone_number"] for row in rows]
    assert len(play.requests) == 3
    assert told[-1] == "Twilio has more than 4 incoming phone numbers; reading on"


def test_short_codes_are_skipped(play, ask, told):
    """A short code, or a number with another kind of SID, is skipped with a message."""
    play.numbers = [phone_number("12345", "Short code"), phone_number("+15005550001", "Odd", sid="XY1"), *NUMBERS]

    assert [number.friendly_name for number in ask.numbers()] == ["Main line"]
    assert [line.partition(" (")[0] for line in told] == ["skipped '12345'", "skipped '+15005550001'"]


def test_wrong_credentials_name_the_account_and_keys(play, ask, told, refused):
    """401 and 403 are not retried; the error names the account and the keys to correct."""
    stranger = Account(f"AC{'6' * 32}", "“wrong”", ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"))

    error = refused(Twilio(stranger, told.append, play.url).numbers)
    assert error == (
        f"error: Twilio refuses the account `{stranger.sid}`: 20003 Authenticate\n"
        "hint: correct TWILIO_ACCOUNT_SID / TWILIO_AUTH_TOKEN in seed.env"
    )
    assert "wrong" not in error + repr(stranger)

    play.faults = [refusal(403, 20403, f"Forbidden: {play.account.token}\x1b[2J")]
    assert "20403 Forbidden: …[2J\nhint: correct TWILIO_WORKTREE_SUBACCOUNT_SID / " in refused(ask.numbers)
    assert len(play.requests) == 2
    assert not told


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (refusal(404, 20404, "The requested resource was not found"), "answers 404: 20404 The requested resource"),
        (refusal(400, 20001, "Invalid parameter"), "hint: see https://www.twilio.com/docs/api/errors/20001"),
        ((418, {}, "<p>no JSON</p>"), "answers 418: I'm a Teapot"),
        ((302, {"Location": FORMER}, ""), "redirects are not followed"),
        ((200, {}, "<html>Log in to the network</html>"), "nonsense: no JSON object"),
        ((200, {}, []), "nonsense: no JSON object"),
        ((200, {"Content-Length": "99"}, "{}"), "cannot be reached: IncompleteRead"),
        ((200, {}, {}), "without `incoming_phone_numbers`"),
        ((200, {}, {"incoming_phone_numbers": [], "next_page_uri": 2}), "`next_page_uri` is missing"),
        ((200, {}, {"incoming_phone_numbers": []}), "`next_page_uri` is missing"),
        ((200, {}, {"incoming_phone_numbers": ["+1"], "next_page_uri": None}), "without `incoming_phone_numbers`"),
        ((200, {}, {"incoming_phone_numbers": [{}], "next_page_uri": None}), "without its number"),
        ((200, {}, {"incoming_phone_numbers": [], "next_page_uri": FORMER}), "another host"),
        ((200, {}, {"incoming_phone_numbers": [], "next_page_uri": "//twilio.example/"}), "another host"),
    ],
)
def test_permanent_errors_are_not_retried(play, ask, told, refused, fault, words):
    """The error has Twilio's code and message, or says that the answer makes no sense; no other host is asked."""
    play.faults = [fault]

    assert words in refused(ask.numbers)
    assert len(play.requests) == 1
    assert not told


def test_endless_list_is_an_error(play, ask, refused, monkeypatch):
    """Pages that link to themselves, or too many pages, are an error."""
    play.numbers, play.page_size = [phone_number(f"+1500555{n:04}", "") for n in range(9)], 1
    following = {"incoming_phone_numbers": [], "next_page_uri": "/2010-04-01/Again.json"}
    play.faults = [(200, {}, following)] * 9
    assert "does not end after 2 pages" in refused(ask.numbers)

    play.faults.clear()
    monkeypatch.setattr(twilio, "PAGES", 3)
    assert "does not end after 3 pages" in refused(ask.numbers)


def test_retry_after_is_obeyed(play, ask, told):
    """After 429 it waits as long as Retry-After says; without one the wait doubles."""
    slow = refusal(429, 20429, "Too Many Requests")
    play.faults = [refusal(429, 20429, "Too Many Requests", **{"Retry-After": "1"}), slow, slow]

    assert ask.numbers()
    assert told == ["Twilio answers 429; trying again in 1 s", *["Twilio answers 429; trying again in 0 s"] * 2]


def test_long_retry_after_is_an_error(play, ask, told, refused):
    """It does not wait for hours; the hint says when to run the command again."""
    play.faults = [refusal(429, 20429, "Too Many Requests", **{"Retry-After": "7200"})]

    assert refused(ask.numbers) == "error: Twilio answers 429, and asks us to wait\nhint: run it again in 2 h"
    assert not told


@pytest.mark.usefixtures("_impatient")
def test_temporary_errors_are_retried(play, ask, told):
    """A server error, a lost connection and a timeout are reported and retried."""
    play.faults = [BUSY, "reset", "hang"]

    assert [number.friendly_name for number in ask.numbers()] == ["Main line"]
    assert told == [
        "Twilio answers 503; trying again in 0 s",
        "Twilio cannot be reached: Remote end closed connection without response; trying again in 0 s",
        "Twilio cannot be reached: Read timed out. (read timeout=0.3); trying again in 0 s",
    ]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (BUSY, "answers 503: 20503 Service Unavailable\n  given up after "),
        ("hang", "cannot be reached: Read timed out. (read timeout=0.1)\n  given up after "),
    ],
)
def test_lasting_failure_is_an_error(play, ask, told, refused, monkeypatch, fault, words):
    """After three retries the error has Twilio's message, or says that it did not answer."""
    monkeypatch.setattr(twilio, "TIMEOUT", (10, 0.1 if fault == "hang" else 10))
    play.faults = [fault] * 9

    error = refused(ask.numbers)

    assert words in error
    assert "https://status.twilio.com" in error
    assert len(play.requests) == 4
    assert len(told) == 3


def test_refused_connection_is_retried(ask, told, refused):
    """A refused connection is retried, and then an error."""
    unreachable = Twilio(ask.account, told.append, "http://127.0.0.1:1")

    assert "cannot be reached: Failed to establish a new connection: [Errno" in refused(unreachable.numbers)
    assert len(told) == 3


def test_failed_tls_is_not_retried(play, told, refused):
    """A failed TLS handshake is not retried."""
    assert "cannot be reached: [SSL" in refused(
        Twilio(play.account, told.append, play.url.replace("http", "https")).numbers
    )
    assert not told


def test_ctrl_c_ends_the_wait(play, ask, monkeypatch):
    """Ctrl-C during the wait between tries ends the command."""
    monkeypatch.setattr(twilio, "BACKOFF", 30)
    play.faults = [BUSY]

    def interrupt(_):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        Twilio(play.account, interrupt, play.url).numbers()


def test_subaccount_is_found_or_created_once(play, ask, told):
    """Only an active subaccount of exactly that name is used, and never the account itself."""
    play.accounts[0]["friendly_name"] = "dev & test"
    play.add_account("dev & test", Account(f"AC{'7' * 32}", "closed"))["status"] = "closed"
    play.add_account("dev", Account(f"AC{'8' * 32}", "other"))

    play.faults = [(200, {}, {"accounts": [*play.accounts], "next_page_uri": None})]  # as if Twilio did not filter

    made = ask.subaccount("dev & test")

    assert made == Account(play.accounts[-1]["sid"], "token-3")
    assert made == ask.subaccount("dev & test")
    assert [line.split()[0] for line in play.requests] == ["GET", "POST", "GET"]
    assert "token" not in repr(made)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(("fault", "asked"), [(BUSY, 1), ("hang", 1), ("reset", 1), (refusal(429, 20429, "Slow"), 4)])
def test_a_subaccount_is_not_created_twice(play, ask, refused, fault, asked):
    """A POST is sent again only if Twilio certainly did nothing."""
    nothing = {"accounts": [], "next_page_uri": None}
    play.faults = [(200, {}, nothing), *[fault] * 9]

    refused(ask.subaccount, "dev")

    assert [line.split()[0] for line in play.requests] == ["GET", *["POST"] * asked]
    assert len(play.accounts) == 1


def test_subaccount_without_a_login_is_an_error(play, ask, refused):
    """A subaccount without a valid SID or token is refused."""
    play.add_account("dev", Account("nonsense", "secret"))

    assert "without `sid` or `auth_token`" in refused(ask.subaccount, "dev")


def test_netrc_and_proxies_do_not_interfere(play, ask, tmp_path, monkeypatch):
    """`~/.netrc` never replaces our credentials, and requests to this machine use no proxy."""
    (tmp_path / "netrc").write_text("default login other password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert ask.numbers()
    with Twilio(play.account, print)._session() as session:
        assert session.trust_env
        sent = session.prepare_request(Request("GET", twilio.API)).headers["Authorization"]
    assert b64decode(sent.removeprefix("Basic ")).decode() == f"{play.account.sid}:{play.account.token}"


@pytest.mark.parametrize("url", ["http://api.twilio.com", "http://127.0.0.1.example", "http://127.0.0.1@example", "x"])
def test_plain_http_is_refused(play, refused, url):
    """Credentials are sent without TLS only to this machine."""
    assert "does not begin with `https://`" in refused(Twilio, play.account, print, url)


def test_proxy_password_is_not_shown(play, told, refused, monkeypatch):
    """The error about an unusable proxy does not have its login."""
    for proxy in ("http://user:pass@word@proxy:99999", "http://user:word/@proxy"):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        error = refused(Twilio(play.account, told.append).numbers)

        assert "cannot be reached: its URL, or that of a proxy, is malformed" in error
        assert "word" not in error
