"""Requests of HTTP destinations: what an answer means, and what is known when none comes."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.errors import Invalid
from flotilla_common.testing.http_standin import DROPPED, LOST, SILENT, Answer, Asked, Standin, serving
from flotilla_stack.certificates import make_keys
from log_shipper.domain.specs import checked
from log_shipper.errors import DestinationDown
from log_shipper.http_client import LARGEST_REPLY_BYTES, HttpClient, HttpSettings, Refused, Reply, TooLarge, check


class Anything(Standin):
    """Stands in for any service that takes all."""

    def answer(self, asked: Asked) -> Answer:
        return Answer(200, b"{}")


@pytest.fixture
def standin() -> Anything:
    return Anything()


class Sent:
    """A client, and how often it said that nobody knows what became of a request."""

    def __init__(self, url: str, **settings: object) -> None:
        self.unclear = 0
        self.client = HttpClient(HttpSettings(url=url, **settings), {})

    def note(self) -> None:
        self.unclear += 1

    async def post(self) -> Reply:
        return await self.client.post("/x", b"body", {}, self.note)


async def test_what_is_posted_arrives_and_the_answer_comes_back(standin):
    async with serving(standin) as url:
        sent = Sent(url + "/base/?key=v%20w")
        reply = await sent.post()
        await sent.client.close()

    assert (reply.status, reply.json(), sent.unclear) == (200, {}, 0)
    assert standin.asked[0].path in {"/base/x?key=v%20w", "/base/x?key=v+w"}
    assert standin.asked[0].body == b"body"


@pytest.mark.parametrize("fault", [DROPPED, LOST, SILENT])
async def test_a_request_whose_answer_does_not_come_is_unclear(standin, fault):
    standin.faults = [fault]
    async with serving(standin) as url:
        sent = Sent(url, timeout_seconds=0.5)
        with pytest.raises(DestinationDown):
            await sent.post()
        await sent.client.close()

    assert sent.unclear == 1


async def test_a_request_that_is_cancelled_after_it_was_sent_is_unclear(standin):
    standin.faults = [SILENT]
    async with serving(standin) as url:
        sent = Sent(url)
        task = asyncio.create_task(sent.post())
        await standin.came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sent.client.close()

    assert sent.unclear == 1


async def test_a_connection_that_was_never_made_leaves_nothing_unclear():
    sent = Sent("http://127.0.0.1:9")

    with pytest.raises(DestinationDown, match=r"http://127.0.0.1:9: ConnectError"):
        await sent.post()

    assert sent.unclear == 0


@pytest.mark.parametrize(("status", "unclear"), [(500, 1), (502, 1), (504, 1), (503, 0), (429, 0), (400, 0)])
async def test_an_answer_of_a_broken_server_is_unclear(standin, status, unclear):
    standin.always = Answer(status)
    async with serving(standin) as url:
        sent = Sent(url)
        await sent.post()
        await sent.client.close()

    assert sent.unclear == unclear


async def test_an_answer_without_end_is_cut(standin):
    standin.always = Answer(200, b"x" * 3_000_000 * 4)
    async with serving(standin) as url:
        sent = Sent(url)
        reply = await sent.post()
        await sent.client.close()

    assert LARGEST_REPLY_BYTES <= len(reply.body) < LARGEST_REPLY_BYTES + 1_000_000
    assert len(str(reply)) < 300


async def test_packed_answers_are_not_unpacked(standin):
    standin.always = Answer(200, b"\x1f\x8b" + b"\0" * 50, {"content-encoding": "gzip"})
    async with serving(standin) as url:
        sent = Sent(url)
        reply = await sent.post()
        await sent.client.close()

    assert reply.body.startswith(b"\x1f\x8b")
    assert reply.json() is None
    assert standin.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("keeps", [True, False])
async def test_cookies_are_kept_only_where_that_is_wanted(standin, keeps):
    standin.always = Answer(200, b"", {"set-cookie": "node=7"})
    async with serving(standin) as url:
        client = HttpClient(HttpSettings(url=url), {}, keeps_cookies=keeps)
        for _ in range(2):
            await client.post("", b"", {}, lambda: None)
        await client.close()

    assert standin.asked[1].headers.get("cookie") == ("node=7" if keeps else None)


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (400, Refused, "status 400: bad field"),
        (422, Refused, "status 422"),
        (413, TooLarge, "status 413"),
        (401, DestinationDown, "credentials are not accepted, repair them: status 401"),
        (403, DestinationDown, "credentials are not accepted"),
        (404, DestinationDown, "settings are wrong, the url most likely: status 404"),
        (302, DestinationDown, "redirects are not followed"),
        (429, DestinationDown, "status 429"),
        (500, DestinationDown, "status 500"),
    ],
)
def test_what_a_status_means(status, error, text):
    with pytest.raises(error, match=text):
        check(Reply(status, b"bad field\x1b[31m\n"))


async def test_a_redirect_is_not_followed(standin):
    standin.always = Answer(307, b"", {"location": "http://127.0.0.1:9/else\x1b"})
    async with serving(standin) as url:
        sent = Sent(url)
        reply = await sent.post()
        await sent.client.close()

    with pytest.raises(DestinationDown, match=r"status 307 points to 'http://127.0.0.1:9/else'"):
        check(reply)
    assert len(standin.asked) == 1


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("-1", 0, 0),
        ("soon", 0, 0),
        ("9" * 5000, 1e6, 1e9),
        ("in an hour", 3000, 3600),
        ("an hour ago", 0, 0),
    ],
)
async def test_retry_after_is_read(standin, value, least, most):
    hours = {"in an hour": 1, "an hour ago": -1}.get(value)
    if hours is not None:
        value = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    standin.always = Answer(503, b"", {"retry-after": value})
    async with serving(standin) as url:
        sent = Sent(url)
        reply = await sent.post()
        await sent.client.close()

    assert least <= reply.retry_after <= most
    with pytest.raises(DestinationDown) as down:
        check(reply)
    assert down.value.retry_after == reply.retry_after


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> tuple[str, ssl.SSLContext]:
    """A private authority's certificate, and a server's side of TLS with one that it made."""
    keys = make_keys(tmp_path_factory.mktemp("tls"), datetime.now(UTC))
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(keys.certificate, keys.key)
    return keys.ca.read_text(), server_side


async def test_a_certificate_that_nobody_vouches_for_is_not_accepted(standin, authority):
    _, server_side = authority
    async with serving(standin, server_side) as url:
        sent = Sent(url)
        with pytest.raises(DestinationDown, match="CERTIFICATE_VERIFY_FAILED"):
            await sent.post()
        await sent.client.close()

    assert (standin.asked, sent.unclear) == ([], 0)


async def test_a_private_authority_can_be_named(standin, authority):
    certificate, server_side = authority
    async with serving(standin, server_side) as url:
        sent = Sent(url, ca_certificate=certificate)
        reply = await sent.post()
        await sent.client.close()

    assert reply.status == 200


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"url": "file:///etc/passwd"}, "must begin with https://"),
        ({"url": "http:///x"}, "name a host"),
        ({"url": "https://user:hush@example.com"}, "must not hold a user"),
        ({"url": "https://example.com/#x"}, "fragment"),
        ({"url": "https://exa mple.com\n"}, "settings.url"),
        ({"ca_certificate": "/etc/ssl/ca.pem"}, "certificates in PEM form"),
        ({"authorization": "hush\r\nx: y"}, "settings.authorization: .*printable ASCII"),
        ({"authorization": " hush"}, "settings.authorization"),
        ({"verify": False}, "settings.verify: Extra inputs"),
        ({"concurrency": 1000}, "settings.concurrency"),
        ({"secret": "whsec_hush!"}, "settings.secret: .*base64"),
    ],
)
def test_settings_that_make_no_sense_are_refused_and_not_repeated(change, reason):
    settings = {"url": "https://example.com/hook"} | change

    with pytest.raises(Invalid, match=reason) as refused:
        checked(Destination(name="x", kind="webhook", settings=settings))

    assert "hush" not in str(refused.value)
