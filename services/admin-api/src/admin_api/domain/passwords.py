"""Passwords: rules for new ones, and argon2id in threads, so that hashing never blocks the event loop."""

from __future__ import annotations

import asyncio
import functools
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from admin_api.errors import InvalidArgument

MIN_LENGTH = 12
MAX_LENGTH = 48
WEAK = (
    "Password does not meet required criteria: Must include 12 characters, at least 1 number (e.g. 0 - 9), "
    "and at least 1 symbol (e.g. &*#)."
)
TOO_LONG = "Password is over the 48 characters limit. If the password is under 48 characters, please check the length."
HASHING_THREADS = 2

T = TypeVar("T")


def check_strength(password: str, argument: str) -> None:
    """Hold a new password to the rules.

    Raises:
        InvalidArgument: it is too weak or too long; `argument` is the name to complain about.

    """
    if len(password) > MAX_LENGTH:
        raise InvalidArgument(argument, TOO_LONG)
    has_digit = any(character.isdecimal() for character in password)
    has_symbol = any(unicodedata.category(character)[0] in "PS" for character in password)
    if len(password) < MIN_LENGTH or not has_digit or not has_symbol:
        raise InvalidArgument(argument, WEAK)


class Passwords:
    """Hashes and verifies in a few threads of its own."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="argon2")

    async def hash(self, password: str) -> str:
        """Return the argon2id hash of a password."""
        return await self._run(self._hasher.hash, password)

    async def matches(self, stored: str | None, password: str) -> bool:
        """Compare; without a stored hash do the same work in vain, so that time does not tell who exists."""
        return await self._run(self._verify, stored if stored is not None else self._nobodys_hash, password)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @functools.cached_property
    def _nobodys_hash(self) -> str:
        return self._hasher.hash("nobody has this password")

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
