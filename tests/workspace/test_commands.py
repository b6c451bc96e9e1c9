"""The commands of the Makefile."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from flotilla_stack.home import hold, open_home

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    "help",
    "install",
    "run",
    "test",
    "e2e",
    "fmt",
    "lint",
    "types",
    "imports",
    "migrate",
    "migration",
    "openapi",
    "bench",
    "figures",
    "lock",
    "clean",
]


def load_check():
    spec = importlib.util.spec_from_file_location("check", ROOT / "tools" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_make_alone_prints_every_command():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    described = re.findall(r"^  make (\S+) +\S", done.stdout, re.MULTILINE)

    assert described == NAMES


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_the_bench_compiles_nothing(tmp_path, word):
    command = ["make", "--dry-run", "bench", f"ARGS={word}", f"LOAD={tmp_path / 'load'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)

    assert f"bench/run.py {word}" in done.stdout
    assert str(tmp_path) not in done.stdout


def test_the_load_client_is_not_compiled_silently(tmp_path):
    command = ["make", "--dry-run", "bench", f"LOAD={tmp_path / 'load'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)

    assert "Compiling the load client" in done.stdout


def test_the_files_of_a_run_are_in_memory_and_go_with_it(tmp_path, monkeypatch):
    check = load_check()
    monkeypatch.setattr(check, "MEMORY", tmp_path)
    monkeypatch.setattr(check, "ROOM_BYTES", 1)
    monkeypatch.delenv("TMPDIR", raising=False)
    look = "import os, pathlib; pathlib.Path(os.environ['TMPDIR'], 'left').touch(); print(os.environ['TMPDIR'])"

    with check.temporary_directory() as directory:
        status = check.run_all([("look", [sys.executable, "-c", look])], os.environ | {"TMPDIR": directory})
        assert Path(directory).parent == tmp_path
        assert (Path(directory) / "left").exists()

    assert status == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("why", ["no such place", "too small", "a container's limit", "TMPDIR is set"])
def test_else_the_files_of_a_run_are_where_they_usually_are(tmp_path, monkeypatch, why):
    check = load_check()
    memory, group, usual = tmp_path / "memory", tmp_path / "group", tmp_path / "usual"
    for directory in (group, usual) if why == "no such place" else (memory, group, usual):
        directory.mkdir()
    (group / "memory.max").write_text("1000\n" if why == "a container's limit" else "max\n")
    (group / "memory.current").write_text("1\n")
    monkeypatch.setattr(check, "MEMORY", memory)
    monkeypatch.setattr(check, "CGROUP", group)
    monkeypatch.setattr(check, "ROOM_BYTES", 1 << 60 if why == "too small" else 1000)
    monkeypatch.setattr(tempfile, "tempdir", None if why == "TMPDIR is set" else str(usual))
    monkeypatch.delenv("TMPDIR", raising=False)
    if why == "TMPDIR is set":
        monkeypatch.setenv("TMPDIR", str(usual))

    with check.temporary_directory() as directory:
        assert directory == str(usual)
    assert not memory.exists() or list(memory.iterdir()) == []


def test_what_killed_runs_left_in_memory_goes_with_the_next_one(tmp_path, monkeypatch):
    check = load_check()
    monkeypatch.setattr(check, "MEMORY", tmp_path)
    monkeypatch.setattr(check, "ROOM_BYTES", 1)
    monkeypatch.delenv("TMPDIR", raising=False)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = (f"{check.PREFIX}{ended.pid}-a", f"{check.PREFIX}{os.getpid()}-b", f"{check.PREFIX}-c", "other")
    for name in names:
        (tmp_path / name / "files").mkdir(parents=True)

    with check.temporary_directory():
        pass

    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])


@pytest.mark.parametrize("is_ctrl_c", [True, False])
def test_a_run_that_is_ended_early_has_time_to_stop_its_servers_and_leaves_nothing(tmp_path, is_ctrl_c):
    """A step that takes its time to end, as tests do that stop servers."""
    step = "import os, time\ntry:\n print('begun', flush=True); time.sleep(60)\nfinally:\n time.sleep(1)\n"
    step += " open(os.environ['DONE'], 'w').write(os.environ['TMPDIR'])"
    script = f"""
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("check", {str(ROOT / "tools" / "check.py")!r})
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)
check.MEMORY, check.ROOM_BYTES = pathlib.Path({str(tmp_path / "memory")!r}), 1
check.steps = lambda part: [("step", [sys.executable, "-c", {step!r}])]
sys.argv = ["check"]
check.main()
"""
    (tmp_path / "memory").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    environment["DONE"] = str(tmp_path / "done")
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, start_new_session=True, **quiet) as run:
        assert run.stdout is not None
        while "begun" not in run.stdout.readline():
            assert run.poll() is None
        if is_ctrl_c:
            os.killpg(run.pid, signal.SIGINT)
        else:
            run.terminate()
        run.wait(30)

    assert (tmp_path / "done").read_text().startswith(str(tmp_path / "memory"))
    assert list((tmp_path / "memory").iterdir()) == []


def clean(folder: Path, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `make clean` in another folder, with this repository's Makefile and tools."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "tools").mkdir(exist_ok=True)
    shutil.copytree(ROOT / "tools" / "stack" / "src", folder / "tools" / "stack" / "src", dirs_exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "FLOTILLA_HOME"}
    environment |= {"FLOTILLA_HOME": str(home)} if home else {}
    command = ["make", "clean", f"PYTHON={sys.executable}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_runs_is_not_cleaned_away(tmp_path, elsewhere):
    folder, home = tmp_path / "here", tmp_path / "there" if elsewhere else tmp_path / "here" / ".flotilla"
    folder.mkdir()
    (folder / ".venv").mkdir()
    with hold(open_home(home)):
        refused = clean(folder, home if elsewhere else None)
        is_kept = (folder / ".venv").exists() and home.exists()
    cleaned = clean(folder, home if elsewhere else None)

    assert (refused.returncode != 0, is_kept) == (True, True)
    assert f"Flotilla runs in {home} (supervisor pid {os.getpid()})" in refused.stderr
    assert "Ctrl-C" in refused.stderr
    assert (cleaned.returncode, (folder / ".venv").exists(), home.exists()) == (0, False, elsewhere)


@pytest.mark.parametrize("name", ["live-query", "stack", "common"])
def test_a_member_is_checked_for_types_and_its_tests_are_run(name):
    check = load_check()
    part = check.find_part(name)
    steps = dict(check.steps(part))

    assert steps["types"][1:] == [str(part)]
    assert steps["tests"][-1] == f"{part}/tests"


@pytest.mark.parametrize("name", ["e2e", "deploy", "workspace"])
def test_tests_across_members_have_no_types_to_check(name):
    check = load_check()
    steps = dict(check.steps(check.find_part(name)))

    assert list(steps) == ["style", "format", "imports", "tests"]
    assert steps["tests"][-1] == f"tests/{name}"


def test_a_wrong_part_is_answered_with_the_right_ones():
    with pytest.raises(SystemExit, match=r"no part is called nothing; try one of: .*admin-api.*deploy, e2e.*stack"):
        load_check().find_part("nothing")
