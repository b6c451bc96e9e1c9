"""`make install` without a package index that answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "bootstrap.sh"


def start(folder: Path, port: int, bootstrap: str) -> subprocess.Popen[str]:
    """Run the script with nothing but an index at this port, and without uv."""
    (folder / "requirements.lock").write_text("uv==0.13.9 --hash=sha256:" + "0" * 64 + "\n", "utf-8")
    tools = folder / "bin"
    tools.mkdir()
    for name in ("sh", "env", "date", "sleep", "grep", "cat", "rm"):
        (tools / name).symlink_to(str(shutil.which(name)))
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("PIP_", "UV_"))}
    given = {"PYTHON": sys.executable, "VENV": ".venv", "UV_VERSION": "0.13.9", "BOOTSTRAP": bootstrap}
    pip = {"PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
    environment = {**kept, **given, **pip, "PIP_RETRIES": "1", "PATH": str(tools)}
    return subprocess.Popen(["sh", str(SCRIPT)], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def check(words: str, status: int, folder: Path) -> None:
    """Hold what it said against what a person can use."""
    lines = [line for line in words.splitlines() if line.strip(".")]
    assert (status, len(lines)) == (1, 2), words
    assert lines[1].startswith("The package index does not answer: ")
    assert all(name in lines[1] for name in ("HTTPS_PROXY", "PIP_INDEX_URL", "UV_DEFAULT_INDEX"))
    assert "Retrying" in (folder / ".venv" / "pip-errors.log").read_text("utf-8")


@pytest.mark.parametrize("bootstrap", ["auto", "pip"])
def test_without_an_index_it_ends_with_one_sentence(tmp_path, bootstrap):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with start(tmp_path, port, bootstrap) as running:
        _, words = running.communicate(timeout=60)

    check(words, running.returncode, tmp_path)


def test_an_index_that_is_silent_and_hangs_up_is_waited_for_visibly(tmp_path):
    words = ""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / ".venv")], check=True, timeout=60)
    with socket.create_server(("127.0.0.1", 0)) as server, start(tmp_path, server.getsockname()[1], "auto") as running:
        assert running.stderr is not None
        server.settimeout(60)
        connection, _ = server.accept()
        while not words.endswith("\n..") and (character := running.stderr.read(1)):
            words += character
        connection.close()
        server.close()
        words += running.stderr.read()
        status = running.wait(60)

    check(words, status, tmp_path)
