"""The tasks of `worktree`, run through `inv`."""

from __future__ import annotations


def test_create_gives_a_branch_its_own_everything(repository):
    """A new branch gets a worktree, a clone, a port, and an env file that differs in those keys only."""
    result = repository.inv("worktree.create", "feat/oauth_v2")

    assert result.returncode == 0, result.stderr
    assert f"{repository.prefix}_oauth_v2_b2b4c8" in result.stdout
    assert repository.databases() == [f"{repository.prefix}_oauth_v2_b2b4c8"]
    before, after = repository.env(), repository.env("feat/oauth_v2")
    changed = {key for key in after if before.get(key) != after[key]}
    assert changed == {"PORT", "DATABASE_URL", "WORKTREE_SLUG", "WORKTREE_SUBDOMAIN", "WORKTREE_BRANCH"}
    assert after["WORKTREE_SLUG"] == "oauth_v2_b2b4c8"
