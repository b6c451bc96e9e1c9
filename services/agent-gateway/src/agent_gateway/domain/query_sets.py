"""Which detail, label and policy queries a host can have been asked: other answers are not passed on."""

from __future__ import annotations

from flotilla_common.contracts.details import details_key
from flotilla_common.contracts.results import ResultKind

from agent_gateway.domain.hosts import Host
from agent_gateway.domain.plans import Plans


class QuerySets:
    """Detail sets by the key of their platform (bucket DETAILS); label and policy sets by the plan of the class."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._details: set[str] = set()

    def put_details(self, key: str) -> None:
        """Take note of a platform's set."""
        self._details.add(key)

    def drop_details(self, key: str) -> None:
        """Forget a platform's set."""
        self._details.discard(key)

    def doubt_details(self) -> None:
        """Forget all: the bucket was made anew, what is in it comes next."""
        self._details.clear()

    def has(self, kind: ResultKind, host: Host) -> bool:
        """Whether hosts like this one are asked queries of this kind."""
        if kind == "detail":
            return bool(self._details) and details_key(host.platform) in self._details
        head = self._plans.head_of(host.class_key)
        if head is None:
            return False
        return (head.label_queries_sha256 if kind == "label" else head.policy_queries_sha256) is not None
