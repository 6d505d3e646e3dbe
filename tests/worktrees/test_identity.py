"""Names, for any branch that git could have."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_lib.worktrees.identity import companion_database, derive

# What git accepts and people type, with the letters that make names collide once they are cut or folded.
PARTS = st.text(alphabet="aAbB09-_.#$'\u00e9\u00df\u65e5\u0130\U0001f680\udc80", min_size=1, max_size=120)
BRANCHES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PREFIXES = st.text(alphabet="abz09_", min_size=1, max_size=40)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def test_identity_matches_the_documented_example():
    """The names of the documentation."""
    names = derive("feat/oauth_v2", project="loquent", prefix="loquent")
    assert names.slug == "oauth_v2_b2b4c8"
    assert names.database == "loquent_oauth_v2_b2b4c8"
    assert names.subdomain == "oauth-v2"
    assert names.session == "loquent-oauth_v2_b2b4c8"
    assert names.dev_url == "https://oauth-v2.loquent.localhost"


@given(branch=BRANCHES, prefix=PREFIXES, project=st.text(alphabet="a0_", min_size=1, max_size=90))
def test_names_fit_postgresql_and_dns(branch, prefix, project):
    """The database within 63 bytes with its hash whole, every label one that DNS takes, the same every time."""
    project = project.strip("_") or "project"
    names = derive(branch, project=project, prefix=prefix)
    assert len(names.database.encode()) <= 63
    assert names.database.startswith(f"{prefix}_")
    assert re.fullmatch(r"[a-z0-9_]+_[0-9a-f]{6}", names.slug)
    assert names.database.endswith(names.slug)
    host = names.dev_url.removeprefix("https://").split(".")
    assert host[0] == names.subdomain
    assert all(LABEL.fullmatch(label) for label in host), host
    assert derive(branch, project=project, prefix=prefix) == names


@given(branches=st.lists(BRANCHES, unique=True, max_size=30))
def test_similar_branches_get_different_names(branches):
    """Branches that fold to the same words still differ in slug, database and subdomain."""
    siblings = []
    for branch in branches:
        taken = {sibling.subdomain for sibling in siblings}
        siblings.append(derive(branch, project="p", prefix="p", taken_subdomains=taken))
    for attribute in ("slug", "database", "subdomain", "session", "dev_url"):
        assert len({getattr(sibling, attribute) for sibling in siblings}) == len(branches), attribute


@pytest.mark.parametrize(
    ("one", "other"),
    [("feat/a-b", "feat/a_b"), ("feat.a", "feata"), ("Feat", "feat"), ("a/x", "b/x"), ("x" * 200, "x" * 199 + "y")],
)
def test_names_that_collide_elsewhere_differ(one, other):
    """Pairs that other tools gave the same name."""
    assert derive(one, project="p", prefix="p").database != derive(other, project="p", prefix="p").database


@given(branch=BRANCHES, name=PREFIXES)
def test_companion_database_name_ends_with_hash(branch, name):
    """It fits, begins as configured, and ends with the worktree's whole hash."""
    slug = derive(branch, project="p", prefix="p").slug
    found = companion_database(name, slug)
    assert len(found) <= 63
    assert found.startswith(f"{name}_")
    assert found.endswith(slug[-7:])
