"""Classes of requests: what is refused first when something is short, and what each class needs."""

from __future__ import annotations

from typing import Literal

RequestClass = Literal["read", "config", "log", "write", "enroll", "carve", "orbit", "device"]
"""The name of a class in metrics, in the log and in `docs/admission.md`, which says what each of them needs."""
