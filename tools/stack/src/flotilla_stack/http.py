"""Plain HTTP requests from synchronous code, to servers on this machine."""

import urllib.request

PROBE_SECONDS = 1.0
"""How long one readiness probe may wait for its answer."""


def fetch(
    url: str, *, method: str = "GET", headers: dict[str, str] | None = None, timeout: float = PROBE_SECONDS
) -> bytes:
    """Return the body of a 2xx answer.

    Raises:
        OSError: no answer, or another status (`urllib.error.HTTPError` is one).
        ValueError: the address is not http.

    """
    if not url.startswith("http://"):
        raise ValueError(f"not an http address: {url}")
    request = urllib.request.Request(url, method=method, headers=headers or {})  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 - checked above
        body: bytes = answer.read()
    return body
