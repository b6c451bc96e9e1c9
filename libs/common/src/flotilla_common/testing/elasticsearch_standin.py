"""A stand-in of Elasticsearch's `_bulk`, and of OpenSearch's: a real HTTP server that keeps documents in memory."""

from __future__ import annotations

import json
from typing import Any

from flotilla_common.testing.http_standin import Answer, Asked, Standin


class Cluster(Standin):
    """Stands in for a cluster that knows `create` by `_bulk`: an id is taken once in an index.

    A document whose `number` is in `statuses` gets those statuses, one a try; the last one for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self.statuses: dict[int, list[int]] = {}
        self.closed: set[str] = set()
        self.conflicts = 0
        self.largest = 100_000_000

    def answer(self, asked: Asked) -> Answer:
        """Take the documents of a `_bulk` request; what is none is refused as a whole."""
        if len(asked.raw) > self.largest:
            return Answer(413, b"too large")
        lines = asked.body.split(b"\n")
        if not asked.path.startswith("/_bulk?") or lines.pop():
            return Answer.of(400, {"error": "this is no bulk request"})
        items = [self._create(json.loads(one), json.loads(two)) for one, two in zip(*[iter(lines)] * 2, strict=True)]
        return Answer.of(200, {"errors": any(one["create"]["status"] > 299 for one in items), "items": items})

    def _create(self, action: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        if set(action) != {"create"}:
            raise AssertionError(f"log-shipper only creates: {action}")
        index, name = action["create"]["_index"], action["create"]["_id"]
        found = {"_id": name, "status": self._status(index, name, document)}
        if found["status"] > 299:
            found["error"] = {"type": "some_exception", "reason": f"status {found['status']}\x1b"}
        return {"create": found}

    def _status(self, index: str, name: str, document: dict[str, Any]) -> int:
        planned = self.statuses.get(document.get("number", -1), [])
        if index in self.closed:
            return 400
        if planned and planned[0]:
            return planned[0] if len(planned) == 1 else planned.pop(0)
        if (index, name) in self.documents:
            self.conflicts += 1
            return 409
        self.documents[index, name] = document
        return 201

    @property
    def numbers(self) -> list[int]:
        """The numbers of all documents that have one, sorted."""
        return sorted(one["number"] for one in self.documents.values() if "number" in one)
