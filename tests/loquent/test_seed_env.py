"""Read `seed.env`, and compare the examples with its keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks_lib.errors import SettingsError
from tasks_lib.loquent.seed_env import KEYS, load_seed_env
from tasks_lib.loquent.twilio import API, Account
from tasks_lib.scaffold.table import TEMPLATES

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "seed.env.example"

HEX = "0123456789abcdef" * 2
WORKTREE = {
    "SUBACCOUNT_SID": f"AC{HEX}",
    "SUBACCOUNT_TOKEN": "token-of-shared",
    "EVENT_SINK_SID": f"DG{HEX}",
    "SMS_SUBSCRIPTION_SID": f"DF{HEX}",
    "CALL_SUBSCRIPTION_SID": f"DF{HEX[::-1]}",
    "TWIML_APP_SID": f"AP{HEX}",
    "API_KEY_SID": f"SK{HEX}",
    "API_KEY_SECRET": "secret-of-the-key",
}
FULL = {f"TWILIO_WORKTREE_{name}": value for name, value in WORKTREE.items()} | {
    "TWILIO_ACCOUNT_SID": f"AC{HEX[::-1]}",
    "TWILIO_AUTH_TOKEN": "token-of-parent",
    "TWILIO_API_URL": "http://127.0.0.1:8080/twilio/",
    "STRIPE_SECRET_KEY": "sk_test_stripe",
    "STRIPE_WEBHOOK_SECRET": "whsec_stripe",
    "SEED_SAMPLE_DATA": "0",
    "SEED_OWNER_EMAIL": "Olivia@Example.org",
    "SEED_SECOND_STAFF_EMAIL": "o'neil+dev@example.org",
}
SECRETS = {"token-of-shared", "secret-of-the-key", "token-of-parent", "sk_test_stripe", "whsec_stripe"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "seed.env"


def seed(path, values):
    path.write_text("".join(f'{key}="{value}"\n' for key, value in values.items()))
    return load_seed_env(path)


def test_missing_file_gives_the_defaults(path, monkeypatch):
    """Sample data and two logins, nothing of Twilio or Stripe; exported variables change nothing."""
    for name, value in FULL.items():
        monkeypatch.setenv(name, value)
    found = load_seed_env(path)
    assert (found.owner_email, found.staff_email) == ("owner@example.com", "staff@example.com")
    assert (found.sample_data, found.shared, found.parent, found.stripe) == (True, None, None, {})
    assert (found.twilio_url, found.secrets) == (API, frozenset())


def test_every_key_is_read(path):
    """Each key sets its field, emails in lower case; repr() shows no secret."""
    assert FULL.keys() == {key.name for key in KEYS}
    found = seed(path, FULL)
    assert found.shared
    assert found.shared.account == Account(WORKTREE["SUBACCOUNT_SID"], WORKTREE["SUBACCOUNT_TOKEN"])
    optional = list(WORKTREE)[2:]
    assert {name: getattr(found.shared, name.lower()) for name in optional} == {
        name: WORKTREE[name] for name in optional
    }
    assert found.parent == Account(FULL["TWILIO_ACCOUNT_SID"], "token-of-parent")
    assert found.parent.keys == ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN")
    assert found.stripe == {"STRIPE_SECRET_KEY": "sk_test_stripe", "STRIPE_WEBHOOK_SECRET": "whsec_stripe"}
    assert (found.owner_email, found.staff_email) == ("olivia@example.org", "o'neil+dev@example.org")
    assert (found.sample_data, found.twilio_url) == (False, "http://127.0.0.1:8080/twilio")
    assert found.secrets == SECRETS
    assert not [secret for secret in SECRETS if secret in repr(found)]


def test_a_file_as_editors_and_other_programs_leave_it(path):
    """A byte order mark, CRLF, blanks, `export`, keys of others; an empty value counts as not set."""
    path.write_bytes(
        b"\xef\xbb\xbfTWILIO_WORKTREE_SUBACCOUNT_SID=\r\nTWILIO_WORKTREE_EVENT_SINK_SID='  '\r\n"
        b"export SEED_SAMPLE_DATA = 0 # none\r\nSEED_OWNER_EMAIL=\r\nSEED=1\r\nTWILIO_REGION=ie1\r\n"
        b"SEED_SECOND_STAFF_EMAIL=first@example.com\r\nSEED_SECOND_STAFF_EMAIL=last@example.com\r\n"
    )
    found = load_seed_env(path)
    assert (found.shared, found.sample_data) == (None, False)
    assert (found.owner_email, found.staff_email) == ("owner@example.com", "last@example.com")


def test_a_shared_account_alone(path):
    """The optional keys are optional."""
    found = seed(path, {name: FULL[name] for name in list(FULL)[:2]})
    assert found.shared
    assert (found.shared.event_sink_sid, found.shared.api_key_secret, found.parent) == (None, None, None)
    assert found.secrets == {"token-of-shared"}


@pytest.mark.parametrize("key", [key for key in KEYS if key.needs], ids=lambda key: key.name)
def test_one_key_without_the_other(path, key):
    """A key that needs another is refused without it, whichever of the two is missing, and the error names both."""
    for needed in key.needs:
        with pytest.raises(SettingsError) as refused:
            seed(path, FULL | {needed: ""})
        assert re.search(rf"`(\w+)` in `{path}` lacks `{needed}`, .*\n.*\nhint: set {needed}, or", str(refused.value))
        assert not [secret for secret in SECRETS if secret in str(refused.value)]
    with pytest.raises(SettingsError, match=f"`{key.name}` in .* lacks `({'|'.join(key.needs)})`"):
        seed(path, {key.name: FULL[key.name]})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("TWILIO_WORKTREE_SUBACCOUNT_SID", f"SK{HEX}", "not the SID of an account\n  it begins with `SK`\n"),
        ("TWILIO_WORKTREE_SUBACCOUNT_SID", HEX, "not the SID of an account\nhint: such a SID is `AC` and 32"),
        ("TWILIO_WORKTREE_SUBACCOUNT_SID", f"AC{HEX.upper()}", "not the SID of an account\nhint"),
        ("TWILIO_WORKTREE_EVENT_SINK_SID", f"DF{HEX}", "not the SID of an event sink\n  it begins with `DF`\n"),
        ("TWILIO_WORKTREE_SMS_SUBSCRIPTION_SID", f"DG{HEX}", "not the SID of an event subscription"),
        ("TWILIO_WORKTREE_CALL_SUBSCRIPTION_SID", f"DG{HEX}", "not the SID of an event subscription"),
        ("TWILIO_WORKTREE_TWIML_APP_SID", f"AC{HEX}", "not the SID of a TwiML app"),
        ("TWILIO_WORKTREE_API_KEY_SID", f"AC{HEX}", "not the SID of an API key\n  it begins with `AC`\n"),
        ("TWILIO_ACCOUNT_SID", f"AC{HEX}0", "not the SID of an account\nhint"),
        ("TWILIO_AUTH_TOKEN", "# of parent", "not a Twilio secret\n  it begins with `#`\n"),
        ("TWILIO_AUTH_TOKEN", "tök€n", "not a Twilio secret\nhint"),
        ("TWILIO_API_URL", "api.twilio.com", "not an https URL, nor an http one of this machine\nhint"),
        (
            "TWILIO_API_URL",
            "https://ada:hunter2@proxy",
            "not an https URL, nor an http one of this machine\nhint: write it without user",
        ),
        ("TWILIO_API_URL", "http://proxy.example", "not an https URL, nor"),
        ("STRIPE_SECRET_KEY", "sk_live_hunter2", "not a key of a Stripe sandbox\n  it begins with `sk_live_`\n"),
        ("STRIPE_SECRET_KEY", " rk_live_hunter2", "not a key of a Stripe sandbox\n  it begins with `rk_live_`\n"),
        ("STRIPE_WEBHOOK_SECRET", "sk_live_hunter2", "not a key of a Stripe sandbox"),
        ("SEED_SAMPLE_DATA", "yes", "not a switch\n  found `yes`\nhint: write 1 or 0"),
        ("SEED_OWNER_EMAIL", "olivia", "not an email address\n  found `olivia`\n"),
        ("SEED_SECOND_STAFF_EMAIL", "o @example.org", "not an email address\n  found `o @example.org`\n"),
        ("SEED_SECOND_STAFF_EMAIL", "OLIVIA@example.org", "are both `olivia@example.org`"),
        ("TWILIO_WORKTREE_SUBACOUNT_SID", "x", "hint: the most similar key is TWILIO_WORKTREE_SUBACCOUNT_SID"),
        ("SEED_SAMPLES", "", "hint: the most similar key is SEED_SAMPLE_DATA"),
    ],
)
def test_wrong_values_are_refused(path, key, value, said):
    """The error has the value, unless it is secret, and what to write instead."""
    with pytest.raises(SettingsError) as refused:
        seed(path, FULL | {key: value})
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
    if key in FULL:
        assert "hunter2" not in str(refused.value)
        assert not re.search(rf"(?i){HEX}|tök", str(refused.value))


def test_unreadable_file_is_an_error(path):
    """It does not count as a missing file."""
    path.write_bytes(b"SEED_OWNER_EMAIL=\xff@example.com\n")
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        load_seed_env(path)


def test_the_example_names_every_key_and_no_other():
    """In the table's order and with its defaults, so that copying the whole file changes nothing."""
    named = re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    assert [name for name, _ in named] == [key.name for key in KEYS]
    assert [value for _, value in named] == [key.default for key in KEYS]
    assert load_seed_env(EXAMPLE) == load_seed_env(ROOT / "absent.env")


def test_the_scaffold_writes_the_same_example():
    """`init --seed` writes the same text as seed.env.example."""
    template = next(template for template in TEMPLATES if template.flag == "seed")
    assert template.path == EXAMPLE.name
    assert (ROOT / "tasks_lib/scaffold/templates" / template.source).read_text() == EXAMPLE.read_text()
