"""What events and requests have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Generic, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SecretStr

SecretOnBus = Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value, return_type=str, when_used="json")]
"""A secret that goes over the bus in clear, since its receiver needs it; a log or a traceback shows asterisks."""


class Message(BaseModel):
    """A frozen model; members it does not know are ignored, so that newer writers can add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _now() -> datetime:
    return datetime.now(UTC)


class Event(Message):
    """A fact in the past tense. `event_id` is also its `Nats-Msg-Id`."""

    subject: ClassVar[str]

    event_id: UUID = Field(default_factory=uuid4)
    occurred_at: datetime = Field(default_factory=_now)


class Answer(Message):
    """What a request is answered with."""


A = TypeVar("A", bound=Answer)


class Request(Message, Generic[A]):
    """An imperative, answered by the owner of the state it is about (core NATS, one queue group per service)."""

    subject: ClassVar[str]
    answer: ClassVar[type[Answer]]
    timeout_seconds: ClassVar[float] = 2.0
