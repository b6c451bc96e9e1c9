"""Real servers, fixtures and waiting for tests. A missing server fails the run; nothing is skipped or mocked."""

from flotilla_common.testing.waiting import eventually, turns

__all__ = ["eventually", "turns"]
