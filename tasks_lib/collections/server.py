"""The embedded PostgreSQL server, for machines without another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.collections._task import Answer, task
from tasks_lib.output import Narrator, format_pairs

if TYPE_CHECKING:
    from invoke.context import Context

    from tasks_lib.databases.server.embedded.cluster import Cluster


def _cluster() -> Cluster:
    from tasks_lib.databases.server.embedded.cluster import Cluster, default_root

    return Cluster(default_root())


@task(returns="`{running, version, port, pid, data, log, service_file, elsewhere}`")
def start(c: Context, json: bool = False) -> Answer:
    """
    Start the embedded PostgreSQL server

    Created on first use in the user's data directory (or GOLDENTREE_HOME), on
    127.0.0.1 with a generated password. Tasks that need the server start it.
    """
    cluster, narrator = _cluster(), Narrator()
    if c.config.run.dry:
        return Answer({"plan": [f"start the server in {cluster.root}"]}, f"would start the server in {cluster.root}")
    cluster.start(narrator.say)
    return _status(cluster)


@task(returns="`{running, version, port, pid, data, log, service_file, elsewhere}`")
def stop(c: Context, json: bool = False) -> Answer:
    """
    Stop the embedded PostgreSQL server

    Ends its sessions and keeps the data.
    """
    cluster = _cluster()
    if c.config.run.dry:
        return Answer({"plan": [f"stop the server in {cluster.root}"]}, f"would stop the server in {cluster.root}")
    cluster.stop()
    return _status(cluster)


@task(reads=True, returns="`{running, version, port, pid, data, log, service_file, elsewhere}`")
def status(c: Context, json: bool = False) -> Answer:
    """
    Show whether the embedded PostgreSQL server runs, and how to log in
    """
    return _status(_cluster())


def _status(cluster: Cluster) -> Answer:
    found = cluster.status()
    data = {
        "running": found.running,
        "version": found.version,
        "port": found.port,
        "pid": found.pid,
        "data": found.data,
        "log": found.log,
        "service_file": cluster.service_file,
        "elsewhere": found.elsewhere,
    }
    rows = [("running", ("yes " + (found.elsewhere or "")).strip() if found.running else "no")]
    if found.version is not None:
        rows += [("version", found.version), ("data", str(found.data)), ("log", str(found.log))]
    if found.running:
        rows += [
            ("port", f"{found.port}" + (f" (pid {found.pid})" if found.pid else "")),
            ("log in", f"PGSERVICEFILE={cluster.service_file} PGSERVICE=goldentree psql"),
        ]
    return Answer(data, format_pairs(rows))
