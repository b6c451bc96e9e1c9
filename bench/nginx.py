"""nginx as the yardstick: constant answers and a file, from one worker on the same core."""

from __future__ import annotations

import shutil
from pathlib import Path

from flotilla_stack.servers.ports import choose_port

from bench.bodies import NOTHING
from bench.house import House, Process, wait_until
from bench.load_client import SERVER_CORE, LoadFailed, Target, core

MISSING = "nginx is missing: apt-get install nginx-light"
CONNECTIONS = 16384

# Set up to be as cheap as it can be: no access log, no session tickets to make, the file's descriptor kept open.
CONFIGURATION = """\
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_timeout 90;
  keepalive_requests 1000000000;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=10;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  ssl_certificate {certificate};
  ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_tickets off;
  server {{
    listen 127.0.0.1:{plain} backlog=2048;
    listen 127.0.0.1:{tls} ssl backlog=2048;
    location / {{ return 200 '{answer}'; }}
    location = /config {{ alias {file}; }}
  }}
}}
"""


def start_nginx(house: House) -> Target | None:
    """Start nginx and return it with its worker; None when it is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        return None
    directory = house.directory / "nginx"
    directory.mkdir()
    directory.chmod(0o755)
    plain, tls = choose_port(), choose_port()
    (directory / "config.json").write_bytes(house.config)
    text = CONFIGURATION.format(
        directory=directory,
        connections=CONNECTIONS,
        files=CONNECTIONS + 100,
        certificate=house.keys.certificate,
        key=house.keys.key,
        plain=plain,
        tls=tls,
        answer=NOTHING,
        file=directory / "config.json",
    )
    (directory / "nginx.conf").write_text(text, "utf-8")
    command = [*core(SERVER_CORE), program, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    process, log_file = house.launch("nginx", command, {})
    running = Process(Target("nginx", process.pid, plain, tls), process, log_file)
    house.keep(running)
    wait_until((directory / "nginx.pid").exists, running, "its pid file is there")
    open_to_worker(directory)
    return running.target


def open_to_worker(directory: Path) -> None:
    """Let the worker, which is another user when we are root, reach the file.

    Raises:
        LoadFailed: it cannot.

    """
    for path in (directory, *directory.parents):
        if path == Path("/"):
            return
        if not path.stat().st_mode & 0o001:
            try:
                path.chmod(path.stat().st_mode | 0o001)
            except PermissionError as error:
                raise LoadFailed(f"nginx's worker cannot enter {path}: set TMPDIR to a folder of yours") from error
