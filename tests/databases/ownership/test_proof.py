"""What other roles can do to pass a database off as ours: no condition of the proof can be left out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from psycopg import sql

from tasks_lib.databases.clone import clone, park, snapshot, spares
from tasks_lib.databases.golden import promote
from tasks_lib.databases.ownership import leftovers
from tasks_lib.databases.ownership.comment import Owner, OwnershipComment, set_comment
from tasks_lib.databases.ownership.drop import drop_owned, drop_temporary, new_temporary_name
from tasks_lib.databases.ownership.golden_template import require_golden
from tasks_lib.databases.ownership.managed import list_claimed, list_managed
from tasks_lib.databases.ownership.proof import Proven, Unproven, find_ours, look_up, require_ours
from tasks_lib.databases.ownership.signer import Signer
from tasks_lib.errors import OwnershipError
from tests.signing import SIGNER

OWNER, SECOND = Owner(SIGNER, "feat_1"), timedelta(seconds=1)


class Ground:
    """A golden template of the role *app*, a role *mallory* with nothing but CREATEDB, and databases of all roles."""

    def __init__(self, place):
        self.place = place
        self.app, self.mallory = place.role("LOGIN"), place.role("LOGIN CREATEDB")
        self.golden = place.golden("CREATE TABLE t AS SELECT 1 AS i", owner=self.app)
        self.source = place.source(self.golden)

    def database(self, *, owner=None, name=None):
        return self.place.golden(name=name, owner=owner)

    def comment(self, role="clone", **changes):
        whole = {"clone": {"slug": "feat_1"}, "parked": {"slug": "feat_1", "database": "app_feat_1", "removed_at": "r"}}
        comment = OwnershipComment("repo", "", role, self.golden, "2026-01-02T03:04:05+00:00", "f")
        return replace(comment, **{**whole.get(role, {}), **changes})

    def ours(self, role="clone", *, name=None, owner=None, signer=SIGNER, **changes):
        """Create a database that has the comment of one of ours."""
        name = self.database(name=name)
        if owner:
            self.place.run("ALTER DATABASE {} OWNER TO {}", name, owner)
        set_comment(self.place.admin, signer, name, self.comment(role, **changes))
        return name

    def text(self, name):
        """Return what every role can read."""
        query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        return self.place.admin.execute(query, [name]).fetchone()[0]

    def write(self, name, text):
        self.place.admin.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(text))
        )

    def look_up(self, name):
        return look_up(self.place.admin, SIGNER, name)


@pytest.fixture
def ground(place):
    return Ground(place)


def no_proof(ground, name, role):
    """Write what an earlier version wrote, or what a role without the key can write."""
    ground.write(name, json.dumps(ground.comment(role).fields()))


def copied(ground, name, role):
    """Copy the comment of another database of ours, which every role can read."""
    ground.write(name, ground.text(ground.ours(role)))


def other_key(ground, name, role):
    """Sign as a user who has no access to our git directory."""
    set_comment(ground.place.admin, Signer("repo", b"m" * 32), name, ground.comment(role))


def changed(ground, name, role):
    """Sign other words."""
    set_comment(ground.place.admin, SIGNER, name, ground.comment(role, fingerprint="another"))
    ground.write(name, ground.text(name).replace('"another"', '"f"'))


def extended(ground, name, role):
    """Add words that this version does not know."""
    set_comment(ground.place.admin, SIGNER, name, ground.comment(role))
    ground.write(name, json.dumps({**json.loads(ground.text(name)), "future": True}))


def other_server(ground, name, role):
    """Sign for a database of another server, which has the same oid by chance or by patience."""
    fields = ground.comment(role).fields()
    proof = SIGNER.sign(1, ground.place.oid(name), fields)
    ground.write(name, json.dumps({**fields, "proof": proof}))


def future(ground, name, role):
    """Sign an instant that has not come."""
    late = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    set_comment(ground.place.admin, SIGNER, name, ground.comment(role, created_at=late))


def parked_in_the_future(ground, name, role):
    late = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    set_comment(ground.place.admin, SIGNER, name, ground.comment(role, parked_at=late))


def given_away(ground, name, role):
    """Sign, and give the database to another role then."""
    set_comment(ground.place.admin, SIGNER, name, ground.comment(role))
    ground.place.run("ALTER DATABASE {} OWNER TO {}", name, ground.mallory)


FORGERIES = (
    no_proof,
    copied,
    other_key,
    changed,
    extended,
    other_server,
    future,
    parked_in_the_future,
    given_away,
)


@pytest.mark.every_major
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_each_forgery_is_refused_in_every_role(ground, forge):
    """Neither handed out, listed, renamed nor dropped; the refusal names the owner, the reason and a cure."""
    place, source = ground.place, ground.source
    oid = place.oid(ground.golden)
    names = {
        "clone": "wanted_clone",
        "parked": "wanted_parked",
        "snapshot": f"{source.prefix('snapshot', oid)}1",
        "spare": f"{source.prefix('spare', oid)}1",
        "temporary": new_temporary_name(),
    }
    for role, name in names.items():
        ground.database(name=name)
        forge(ground, name, role)
    forged = set(names.values())
    before = {name: ground.text(name) for name in forged}

    assert not forged & {database.name for database in list_managed(place.admin, SIGNER)}
    claimed = {claim.found.name: claim.found for claim in list_claimed(place.admin, SIGNER)[1]}
    assert forged <= claimed.keys()
    golden = require_golden(place.admin, ground.golden)
    assert snapshot.list_snapshots(source, place.admin, golden) == [] or forge is copied
    assert forged.isdisjoint(taken.name for taken in snapshot.list_snapshots(source, place.admin, golden))
    assert forged.isdisjoint(spare.name for spare in source.list_copies(place.admin, "spare"))
    assert not clone_is_kept(ground, names["clone"])
    found = leftovers.find_leftovers(source, live=[], keep=timedelta(0), now=datetime.now(UTC) + timedelta(days=400))
    assert forged.isdisjoint(leftover.name for leftover in found)
    for role, name in names.items():
        with pytest.raises(OwnershipError, match=name):
            drop_owned(place.admin, name, Owner(SIGNER, ground.comment(role).slug), role, golden=ground.golden)
    with pytest.raises(OwnershipError, match="not provably ours"):
        drop_temporary(place.admin, names["temporary"], signer=SIGNER, golden=ground.golden)
    with pytest.raises(OwnershipError, match="not provably ours"):
        park.park(place.server, OWNER, removed_at="r", report=place.said.append)
    with pytest.raises(OwnershipError, match="not provably ours"):
        park.unpark(place.server, OWNER, removed_at="r", now="n", report=place.said.append)
    assert spares.maintain_spares(source, 0, place.said.append) == 0
    assert {name: ground.text(name) for name in forged} == before


def clone_is_kept(ground, name):
    """Whether `worktree.create` takes the database for its own; the refusal must be clear."""
    with pytest.raises(OwnershipError) as refused:
        clone.is_complete(ground.place.server, name, OWNER)
    said = str(refused.value)
    assert f"`{name}` is not provably ours" in said
    assert "role `" in said or "clock" in said
    assert "hint: " in said
    return False


def test_a_forged_parked_database_is_not_brought_back(ground):
    """Neither a worktree's nor a parked golden template."""
    place = ground.place
    name = ground.database()
    no_proof(ground, name, "parked")
    place.run("ALTER DATABASE {} OWNER TO {}", name, ground.mallory)
    golden = ground.database(owner=ground.mallory)
    ground.write(golden, json.dumps({**ground.comment("parked", slug="").fields(), "parked": "2026-02-01T00:00:00Z"}))

    assert park.unpark(place.server, OWNER, removed_at="r", now="n", report=place.said.append) == []
    assert promote.list_parked_goldens(ground.source) == []
    with pytest.raises(OwnershipError, match=f"its owner is role `{ground.mallory}`"):
        promote.restore_golden(ground.source, golden, now="n", evict_idle=False)


def test_owner_must_be_our_role_or_goldens_owner(ground):
    """Exactly one of these two: a superuser is a member of every role, so membership proves nothing."""
    place = ground.place
    assert isinstance(ground.look_up(ground.ours()), Proven)
    assert isinstance(ground.look_up(ground.ours(owner=ground.app)), Proven)
    stranger = ground.ours()
    place.run("ALTER DATABASE {} OWNER TO {}", stranger, ground.mallory)
    found = ground.look_up(stranger)
    assert isinstance(found, Unproven)
    assert not found.signable
    assert ground.mallory in found.flaw
    user = place.admin.info.user
    assert found.cure.endswith(f'psql postgres -c \'ALTER DATABASE "{stranger}" OWNER TO "{user}"\'')


def test_databases_stay_ours_when_golden_gets_another_owner(ground):
    """As after `golden.pull`, or when golden was restored by another role; so does one of golden's new owner."""
    place, name = ground.place, ground.ours(owner=ground.app)
    newer = place.role("LOGIN")
    place.run("ALTER DATABASE {} OWNER TO {}", ground.golden, newer)
    assert isinstance(ground.look_up(name), Proven)
    place.run("ALTER DATABASE {} OWNER TO {}", name, newer)
    assert isinstance(ground.look_up(name), Proven)
    place.run("ALTER DATABASE {} OWNER TO {}", name, ground.mallory)
    assert isinstance(ground.look_up(name), Unproven)


def test_database_of_a_previous_login_is_refused_with_both_cures(ground):
    """Of the role that DATABASE_URL named before, unless it is golden's owner."""
    place = ground.place
    alice = place.role("LOGIN CREATEDB")
    with place.as_role(alice).connect() as connection:
        connection.execute(f"CREATE DATABASE of_{alice} TEMPLATE template0")
        place.made.append(f"of_{alice}")
        set_comment(connection, SIGNER, f"of_{alice}", ground.comment())
        require_ours(connection, f"of_{alice}", OWNER, "clone")
    with pytest.raises(OwnershipError) as refused:
        require_ours(place.admin, f"of_{alice}", OWNER, "clone")
    assert f"its owner is role `{alice}`, neither our own role" in refused.value.why
    assert f"log in as `{alice}`" in refused.value.hint
    assert "ALTER DATABASE" in refused.value.hint
    found = require_ours(place.admin, f"of_{alice}", OWNER, "clone", logins={alice})
    assert found.comment.slug == "feat_1", "the login of the worktree's env file may be another one than DATABASE_URL's"


def test_a_database_that_takes_a_spares_name_is_not_handed_out(ground, monkeypatch):
    """Another role can wait until a spare was taken, and create a database of its name before the next one looks."""
    place, source = ground.place, ground.source
    ready = [find_ours(place.admin, ground.ours("spare"), Owner(SIGNER), "spare")]
    place.run("DROP DATABASE {}", ready[0].name)
    ground.database(name=ready[0].name, owner=ground.mallory)

    assert not spares.take_spare(source, place.admin, ready, "f", "wanted", ground.comment())
    assert ready[0].name in place.databases()
    assert "wanted" not in place.databases()


def test_what_others_write_never_breaks_a_list(ground):
    """Whatever is in a comment: too deep, too late, half a character, the wrong types."""
    place = ground.place
    fields = ground.comment().fields()
    deep = json.dumps({**fields, "proof": "p"})[:-1] + ', "x": ' + "[" * 400 + "]" * 400 + "}"
    for text in (
        deep,
        json.dumps({**fields, "proof": ["p"]}),
        json.dumps({**fields, "proof": "\ud800"}),
        json.dumps({**fields, "proof": "ü", "slug": "\ud800"}),
        json.dumps({**fields, "proof": "p", "created": "0001-01-01T00:00:00"}),
        json.dumps({**fields, "proof": "p", "created": "9999-12-31T23:59:59-23:59"}),
        json.dumps({**fields, "proof": "p", "given_to": 10**400}),
        json.dumps({**fields, "proof": "p", "given_to": True}),
    ):
        name = ground.database(owner=ground.mallory)
        ground.write(name, text)
        assert isinstance(ground.look_up(name), Unproven)
    assert list_managed(place.admin, SIGNER) == []


def test_proof_is_bound_to_the_database_not_to_its_name(ground):
    """A rename keeps the oid; a copy has another one."""
    place, name = ground.place, ground.ours()
    place.run("ALTER DATABASE {} RENAME TO {}", name, f"{name}_moved")
    place.made.append(f"{name}_moved")
    assert isinstance(ground.look_up(f"{name}_moved"), Proven)
    again = ground.database(name=name)
    ground.write(again, ground.text(f"{name}_moved"))
    assert isinstance(ground.look_up(again), Unproven)


def test_comment_written_now_is_not_in_the_future(ground):
    """The server's clock is written, whatever the client's says."""
    name = ground.ours(created_at="")
    found = ground.look_up(name)
    assert isinstance(found, Proven)
    age = datetime.now(UTC) - datetime.fromisoformat(found.comment.created_at)
    assert abs(age) < 60 * SECOND


def test_uncommented_temporary_database_of_another_role_is_not_dropped(ground):
    """Its name is known to every role once it has existed, and free again when it was dropped."""
    place = ground.place
    theirs = ground.database(name=new_temporary_name(), owner=ground.mallory)
    with pytest.raises(OwnershipError, match=ground.mallory):
        drop_temporary(place.admin, theirs, signer=SIGNER, golden=ground.golden)
    for owner in (None, ground.app):
        ours = ground.database(name=new_temporary_name(), owner=owner)
        assert drop_temporary(place.admin, ours, signer=SIGNER, golden=ground.golden)


def test_copy_of_another_golden_template_is_not_used(ground):
    """Its owner may rename it, and the oid of a golden template is public."""
    place, source = ground.place, ground.source
    golden = require_golden(place.admin, ground.golden)
    for role in ("snapshot", "spare"):
        name = ground.ours(role, name=f"{source.prefix(role, golden.oid)}1", golden="another_latest")
        assert isinstance(ground.look_up(name), Proven)
        assert source.list_copies(place.admin, role, golden.oid) == []
