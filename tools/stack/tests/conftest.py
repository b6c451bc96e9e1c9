"""Small programs in the place of the services, so that the stack can be tested without them.

They are ready at once; the one for admin-api knows the handful of calls that the seed makes, and keeps what it is told.
"""

from pathlib import Path

import pytest

NAMES = ("inventory", "config_merger", "live_query", "log_shipper", "admin_api", "analytics", "agent_gateway")

PROGRAM = """
import json, os, pathlib, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STORE = pathlib.Path(os.environ["STAND_INS"]) / "calls.jsonl"

def calls():
    return [json.loads(line) for line in STORE.read_text().splitlines()] if STORE.exists() else []

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith("/enroll_secret"):
            return self.reply(200, {"spec": {"secrets": [{"secret": "global-secret"}]}})
        return self.reply(200, {"status": "ok"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = [self.path, body] in calls()
        with STORE.open("a") as file:
            file.write(json.dumps([self.path, body]) + "\\n")
        if self.path.endswith("/login"):
            return self.reply(200, {"token": "the-token"})
        if known:
            return self.reply(404 if self.path.endswith("/setup") else 409, {"message": "known"})
        if self.path.endswith("/users/admin"):
            return self.reply(200, {"token": "own-token"})
        return self.reply(200, {"token": "the-token"} if self.path.endswith("/setup") else {})

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words):
        pass

def serve(port):
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()

if "FLOTILLA_LISTEN_PORT" in os.environ:
    threading.Thread(target=serve, args=(os.environ["FLOTILLA_LISTEN_PORT"],), daemon=True).start()
serve(os.environ["FLOTILLA_HEALTH_PORT"])
"""


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One package per service, in a folder for PYTHONPATH."""
    directory = tmp_path_factory.mktemp("services")
    for name in NAMES:
        package = directory / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text('"""A stand-in."""\n')
        (package / "__main__.py").write_text(PROGRAM)
    return directory
