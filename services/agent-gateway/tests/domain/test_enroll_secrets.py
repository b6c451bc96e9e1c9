"""What is remembered of enroll secrets."""

from __future__ import annotations

import pytest
from agent_gateway.domain import enroll_secrets
from agent_gateway.domain.enroll_secrets import BAD_SECONDS, EnrollSecrets
from flotilla_common.contracts.hosts import BadEnrollSecret, EnrollSecretUsedUp
from pydantic import SecretStr

from .test_buckets import Clock


def test_an_unknown_secret_is_refused_from_memory_for_a_moment_only() -> None:
    clock = Clock()
    secrets = EnrollSecrets(clock)
    name = secrets.name_of(SecretStr("wrong"))
    secrets.refused(name, BadEnrollSecret())

    with pytest.raises(BadEnrollSecret):
        secrets.check(name)
    secrets.check(secrets.name_of(SecretStr("other")))
    clock.now += BAD_SECONDS
    secrets.check(name)


def test_a_used_up_secret_is_asked_about_again_and_is_proven_no_more() -> None:
    secrets = EnrollSecrets(Clock())
    name = secrets.name_of(SecretStr("one use"))
    secrets.let_in(name)
    assert secrets.is_proven(name)

    secrets.refused(name, EnrollSecretUsedUp())

    secrets.check(name)
    assert not secrets.is_proven(name)


def test_neither_good_nor_bad_secrets_take_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enroll_secrets, "PROVEN_LIMIT", 10)
    monkeypatch.setattr(enroll_secrets, "BAD_LIMIT", 10)
    secrets = EnrollSecrets(Clock())
    for number in range(100):
        secrets.let_in(secrets.name_of(SecretStr(f"good {number}")))
        secrets.refused(secrets.name_of(SecretStr(f"bad {number}")), BadEnrollSecret())

    assert (len(secrets._proven), len(secrets._bad) <= 10) == (10, True)
    assert secrets.is_proven(secrets.name_of(SecretStr("good 99")))


def test_no_secret_can_be_read_from_what_is_kept() -> None:
    secret = SecretStr("let-me-in")

    assert EnrollSecrets().name_of(secret) != EnrollSecrets().name_of(secret)
