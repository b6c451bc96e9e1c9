"""What the gateway's handlers may use: no database, no Redis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from agent_gateway.domain.clients import Network
from agent_gateway.domain.gateway import Gateway
from agent_gateway.guard import Guard


@dataclass(frozen=True)
class Deps:
    """The state of this process and how to tell a client's address."""

    gateway: Gateway
    trusted_proxies: tuple[Network, ...] = ()

    @cached_property
    def guard(self) -> Guard:
        """Who watches addresses."""
        return Guard(self.gateway, self.trusted_proxies)


def deps_of(request: Request) -> Deps:
    """Return what `create_app` was given."""
    deps: Deps = request.app.state.deps
    return deps


DepsDep = Annotated[Deps, Depends(deps_of)]
