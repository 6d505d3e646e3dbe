#!/bin/sh
# The shell scripts that goldentree replaces, as their authors wrote them (worktree.sh and worktree-db.sh), without the project's own
# migrate and generate: what `inv worktree.create` is measured against.
# usage: worktree.sh BRANCH, in the main worktree; PG* say where the server is.
set -eu

branch=$1
slug=$(printf %s "$branch" | tr -c 'a-z0-9' _)
target="../$(basename "$PWD")-$branch"
template=${WORKTREE_TEMPLATE_DB:-loquent_latest}
database="loquent_$slug"

git worktree add -q "$target" -b "$branch" main
cp .env "$target/.env"

if psql -XAtq -d postgres -c "SELECT 1 FROM pg_database WHERE datname = '$database'" | grep -q 1; then
	exit 0
fi
psql -XAtq -d postgres -c "SELECT 1 FROM pg_database WHERE datname = '$template'" | grep -q 1 || {
	echo "no template $template" >&2
	exit 1
}
createdb "$database"
pg_dump --no-owner --no-privileges "$template" | psql -q --set ON_ERROR_STOP=1 -d "$database" >/dev/null || {
	dropdb "$database"
	exit 1
}
port=$((20000 + $(printf %s "$branch" | cksum | cut -d ' ' -f 1) % 10000))
sed -i.bak -e "s#^\(DATABASE_URL=.*\)/[^/]*\$#\1/$database#" -e "s#^PORT=.*#PORT=$port#" "$target/.env"
rm "$target/.env.bak"
