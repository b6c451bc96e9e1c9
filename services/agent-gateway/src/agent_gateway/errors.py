"""What can be wrong with a host's request. `routes/dialect.py` says it in osquery's words."""

from __future__ import annotations

from flotilla_common.errors import Denied, Invalid, Unavailable


class MissingNodeKey(Denied):
    """The request shows no node key: the host never enrolled, or lost its key."""

    code = "missing_node_key"


class UnknownNodeKey(Denied):
    """Inventory has just said that no host has this key."""

    code = "invalid_node_key"


class NodeKeysDiffer(Denied):
    """The key in the body is not the one in the `Authorization` header. Neither is believed; neither is invalid."""

    code = "node_keys_differ"


class MissingOrbitNodeKey(Denied):
    """Orbit shows no key: it never enrolled, or lost its key."""

    code = "missing_orbit_node_key"


class UnknownOrbitNodeKey(Denied):
    """Inventory has just said that no host's orbit has this key."""

    code = "invalid_orbit_node_key"


class BadDeviceToken(Denied):
    """No host has this device token, or it is older than an hour."""

    code = "invalid_device_token"


class MalformedDeviceToken(Invalid):
    """This could not stand in a path."""

    code = "malformed_device_token"


class BadCarveSession(Denied):
    """The session id of a block is not one that live-query gave to this host for this request."""

    code = "invalid_carve_session"


class CarveSessionExpired(Denied):
    """The carve has expired."""

    code = "carve_session_expired"


class Malformed(Invalid):
    """The body is not the JSON object that this path takes."""

    code = "malformed_body"


class TooLarge(Invalid):
    """The body, or what it inflates to, is above this path's cap."""

    code = "body_too_large"


class NeverEnding(TooLarge):
    """A refused body went on and on: the connection is closed."""


class BodyTooSlow(Invalid):
    """The body did not come to its end in time: the connection is closed."""

    code = "body_too_slow"


class BodyBrokenOff(Malformed):
    """Its last chunk did not come: what did may be a whole JSON object, but is not all that its sender has."""


class NestedTooDeep(Malformed):
    """Its brackets are nested deeper than any parser here goes."""


class UnknownLogType(Invalid):
    """A log POST says neither `result` nor `status`."""

    code = "unknown_log_type"


class TooMuch(Unavailable):
    """Who asks has had its share for now. It keeps what it has and comes again; nothing about it is called invalid."""

    code = "too_many_requests"
