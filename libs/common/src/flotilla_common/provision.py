"""Make a database and a bus ready for this release.

    python -m flotilla_common.provision               migrations, roles, streams and buckets
    python -m flotilla_common.provision nats-config   print the NATS servers' authorization block

Environment: FLOTILLA_ADMIN_DATABASE_URL (a superuser's; or ..._URL_FILE, a file with it), FLOTILLA_SECRETS_FILE,
FLOTILLA_NATS_URL, and FLOTILLA_STREAM_SIZE=dev|production. The secrets file is JSON:
{"postgres": {service: password, ...}, "nats": {service: password, ..., "provision": password}}.
Running it again changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import nats
import sqlalchemy as sa

from flotilla_common.bus.permissions import PROVISION_USER, authorization
from flotilla_common.bus.provision import Size, make
from flotilla_common.db.migrate import grant, migrate

ADMIN_URL = "FLOTILLA_ADMIN_DATABASE_URL"
NATS_URL = "FLOTILLA_NATS_URL"


def provision_database(admin_url: str, passwords: dict[str, str]) -> None:
    """Migrate and grant. `admin_url` is a superuser's SQLAlchemy URL of an existing database."""
    engine = sa.create_engine(admin_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        migrate(connection)
        grant(connection, passwords)


async def provision_bus(url: str, password: str, size: Size) -> None:
    """Make streams and buckets as user `provision`."""
    client = await nats.connect(
        url, user=PROVISION_USER, password=password, inbox_prefix=f"_INBOX.{PROVISION_USER}".encode(), connect_timeout=5
    )
    try:
        await make(client.jetstream(), size)
    finally:
        await client.close()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m flotilla_common.provision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", default="all", choices=["all", "nats-config"])
    parser.add_argument("--secrets", default=os.environ.get("FLOTILLA_SECRETS_FILE"), help="the secrets file")
    arguments = parser.parse_args()
    if not arguments.secrets:
        parser.error("name the secrets file: --secrets FILE or FLOTILLA_SECRETS_FILE")
    secrets: dict[str, Any] = json.loads(Path(arguments.secrets).read_text(encoding="utf-8"))
    if arguments.action == "nats-config":
        sys.stdout.write(authorization(secrets["nats"]))
        return 0
    values = {name: setting(name) for name in (ADMIN_URL, NATS_URL)}
    missing = [name for name, value in values.items() if not value]
    if missing:
        parser.error(f"set {' and '.join(missing)}")
    provision_database(values[ADMIN_URL], secrets["postgres"])
    size: Size = "production" if os.environ.get("FLOTILLA_STREAM_SIZE") == "production" else "dev"
    asyncio.run(provision_bus(values[NATS_URL], secrets["nats"][PROVISION_USER], size))
    return 0


def setting(name: str) -> str:
    """Return an environment variable, or the stripped content of the file that NAME_FILE names; empty: neither."""
    path = os.environ.get(f"{name}_FILE")
    return os.environ.get(name) or (Path(path).read_text(encoding="utf-8").strip() if path else "")


if __name__ == "__main__":
    sys.exit(main())
