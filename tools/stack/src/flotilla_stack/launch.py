"""Become another program, tied to the life of the process that started us.

Run as a script in front of every process that the stack starts:

    python -I -S launch.py --parent PID --signal NUMBER --identity self|namespace|nobody -- PROGRAM ARGUMENT...

It sets the parent-death signal (Linux), changes identity where a server refuses root, and then execs the program, so
that the pid stays the same. It imports nothing but the standard library because it runs without site-packages.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
NOBODY = 65534
USAGE = "usage: launch.py --parent PID --signal NUMBER --identity self|namespace|nobody -- PROGRAM ARGUMENT..."


def enter_user_namespace() -> None:
    """Map our own user to `nobody` in a new user namespace: files stay ours, but the program does not see root.

    The same as `unshare --user --map-user=65534 --map-group=65534`, see user_namespaces(7) for the three files.

    Raises:
        OSError: the kernel or the container refuses.

    """
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"unshare: {os.strerror(code)}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")


def become_nobody() -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def die_with_parent(parent: int, signal_number: int) -> None:
    """Ask the kernel to signal us when the parent dies; leave at once where it has died already.

    A change of credentials clears this setting (commit_creds in the kernel), so it comes after them.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("launch: the parent is gone")


def main(arguments: list[str]) -> None:
    """Parse the fixed order of options and exec the program."""
    match arguments:
        case ["--parent", parent, "--signal", number, "--identity", identity, "--", program, *_]:
            pass
        case _:
            sys.exit(USAGE)
    if identity == "namespace":
        enter_user_namespace()
    elif identity == "nobody":
        become_nobody()
    die_with_parent(int(parent), int(number))
    os.execvp(program, arguments[7:])  # noqa: S606 - becoming the given program is what this script is for


if __name__ == "__main__":
    main(sys.argv[1:])
