"""Settings, and where each value comes from."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, task
from tasks_lib.output import format_table

if TYPE_CHECKING:
    from invoke.context import Context

    from tasks_lib.settings import Settings
    from tasks_lib.settings.table import Setting

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


@task(reads=True, returns="`[{name, env, value, origin}]`; durations as in the settings, `7d`")
def show(c: Context, json: bool = False) -> Answer:
    """
    Show every setting with its value and origin

    Precedence: environment, env file, `invoke.yaml`, default. Both files are the
    main worktree's.
    """
    from tasks_lib.settings import SETTINGS

    settings = current_project(looks=True).settings
    data = [
        {
            "name": setting.key or setting.env,
            "env": setting.env,
            "value": _value(settings, setting),
            "origin": settings.origins[setting.name],
        }
        for setting in SETTINGS
    ]
    cells = [(row["name"], _format_value(row["value"]), row["origin"], row["env"] or "-") for row in data]
    return Answer(data, format_table(("SETTING", "VALUE", "ORIGIN", "ENVIRONMENT"), cells, spare=("ENVIRONMENT",)))


def _value(settings: Settings, setting: Setting) -> Any:
    name, value = setting.name, getattr(settings, setting.name)
    if name.endswith("_url") and value:
        from tasks_lib.databases.server.url import DatabaseUrl

        return DatabaseUrl.parse(value, source=str(setting.env)).masked
    if isinstance(value, timedelta):
        return _format_duration(value)
    if name in ("migrate", "generate"):
        return {None: "(detected)", "": "none"}.get(value, value)
    if name == "companions":
        return {companion.name: f"{companion.env} from {companion.template or 'nothing'}" for companion in value}
    return value


def _format_duration(duration: timedelta) -> str:
    """Return *duration* in the notation of settings: `90s`, `7d`."""
    seconds = int(duration.total_seconds())
    fitting = (f"{seconds // length}{unit}" for unit, length in _UNITS.items() if seconds % length == 0)
    return next(fitting) if seconds else "0"


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={template}" for key, template in value.items()) or "-"
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    return "-" if value is None else str(value)
