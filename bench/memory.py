"""Memory (PSS) and processor time of processes, Linux only."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


def children_by_parent() -> dict[int, list[int]]:
    """Return parent -> children of all processes that can be read."""
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has just ended
            continue
        children[parent].append(int(path.parent.name))
    return children


def tree_of(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children, found = children_by_parent(), [root]
    for pid in found:
        found.extend(children[pid])
    return found


def pss_mib(pid: int) -> float:
    """Return the memory of one process in MiB; 0 when it has just ended."""
    try:
        match = PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
    except OSError:
        return 0.0
    return int(match[1]) / 1024 if match else 0.0


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, user and system, in all its threads (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def name_of(pid: int) -> str:
    """Return what runs: a module of ours, or the program's name."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "ended"
    if "-m" in words:
        return " ".join(word for word in words[words.index("-m") + 1 :][:2] if word and not word.startswith("-"))
    return Path(words[0].split(":")[0]).name or "python"


def by_program(root: int) -> dict[str, float]:
    """Return MiB of PSS by program, of a process and its descendants."""
    found: dict[str, float] = defaultdict(float)
    for pid in tree_of(root):
        found[name_of(pid)] += pss_mib(pid)
    return dict(sorted(found.items(), key=lambda item: -item[1]))
