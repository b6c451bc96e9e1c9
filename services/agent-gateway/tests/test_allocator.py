"""Memory that is freed stays with the process, so that it is not taken anew for each message."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MEASURE = """
import resource, sys
from agent_gateway.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
kept = [bytes(1024) for _ in range(10_000)]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def message():
    pieces = [bytes(100_000) for _ in range(20)]
    body = b"".join(pieces)
    return len(b"".join((b"head", body)))
message()
before = faults()
for _ in range(20):
    message()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_messages_take_no_new_pages() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", MEASURE, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("kept") < faults("as it comes") / 4
