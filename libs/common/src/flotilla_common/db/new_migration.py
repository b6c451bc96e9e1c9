"""`make migration m="add carves"`: write a migration from the difference between tables and a migrated database."""

from __future__ import annotations

import os
import sys

import sqlalchemy as sa
from alembic import command

from flotilla_common.db.migrate import HERE, config


def main() -> int:
    """Write the file; the database of FLOTILLA_ADMIN_DATABASE_URL must be at the newest revision."""
    message = " ".join(sys.argv[1:]).strip()
    url = os.environ.get("FLOTILLA_ADMIN_DATABASE_URL")
    if not message or not url:
        sys.stderr.write('usage: FLOTILLA_ADMIN_DATABASE_URL=postgresql+psycopg://... make migration m="add carves"\n')
        return 2
    number = len(list((HERE / "versions").glob("[0-9]*.py"))) + 1
    with sa.create_engine(url).begin() as connection:
        name = message.lower().replace(" ", "_")
        command.revision(config(connection), message=message, autogenerate=True, rev_id=f"{number:04d}_{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
