"""Times in requests: RFC 3339 and nothing else that ISO 8601 knows."""

from __future__ import annotations

import re
from datetime import datetime

from admin_api.errors import BadRequest

_RFC3339 = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d:\d\d)(?P<fraction>\.\d{1,9})?(?P<zone>[Zz]|[+-]\d\d:\d\d)?",
    re.ASCII,
)
"""`date-time` of RFC 3339, section 5.6: letters may be small, the T may be a space. The zone is checked apart."""


def time_of(text: str, name: str) -> datetime:
    """Return the time that a member of a request says; beyond microseconds it is cut.

    Raises:
        BadRequest: it is none, or has no time zone.

    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise BadRequest(f"{name} must be an RFC 3339 time")
    if found["zone"] is None:
        raise BadRequest(f"{name} must have a time zone")
    fraction, zone = (found["fraction"] or "")[:7], found["zone"].upper()
    try:
        return datetime.fromisoformat(
            f"{found['date']}T{found['time']}{fraction.ljust(7, '0') if fraction else ''}{zone}"
        )
    except ValueError as error:
        raise BadRequest(f"{name} must be an RFC 3339 time") from error
