"""The body of an enrolment.

Observed: the tables are read without SQL, so hidden columns appear, members are sorted, and cpu_brand is padded.
"""

from typing import Any

from osquery_simulator.overlay import View
from osquery_simulator.sql import SqlEngine

TABLES = ("os_version", "osquery_info", "system_info", "platform_info")
CPU_BRAND_LENGTH = 48  # characters, padded with NUL on Linux


async def enroll_members(engine: SqlEngine, view: View, host_identifier: str) -> dict[str, Any]:
    """Describe the host: identifier, platform and the rows of four tables."""
    details: dict[str, dict[str, str]] = {}
    for table in TABLES:
        rows = (await engine.run(view, f"SELECT * FROM {table}")).text_rows()  # noqa: S608 - a name from the list above
        if rows:
            details[table] = dict(sorted(_as_read(table, rows[0], view).items()))
    # Observed: the extension manager is not there yet at the first attempt of a process, and always later.
    view.has_extensions = True
    return {
        "host_identifier": host_identifier,
        "platform_type": view.profile.platform_type,
        "host_details": details,
    }


def _as_read(table: str, row: dict[str, str], view: View) -> dict[str, str]:
    """Turn a queried row into one that was read without SQL."""
    is_linux = view.profile.platform == "linux"
    if table == "os_version":
        hidden = {"_id": row["major"], "pid_with_namespace": "0"} if is_linux else {}
        return {name: value for name, value in row.items() if value} | hidden
    if table == "system_info":
        filled = {name: value for name, value in row.items() if value or not name.startswith("board_")}
        return filled | ({"cpu_brand": row["cpu_brand"].ljust(CPU_BRAND_LENGTH, "\0")} if is_linux else {})
    return row
