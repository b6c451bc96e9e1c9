"""The same over SockJS, as browsers speak it."""

from __future__ import annotations

import asyncio
import json

import pytest
from admin_api.routes import campaign_feed, campaign_stream
from websockets.asyncio.client import connect

PATH = "/api/v1/fleet/results"


@pytest.mark.parametrize("version", ["v1", "2022-04", "latest"])
async def test_the_information_says_what_works(client, admin, version):
    answer = await client.get(f"/api/{version}/fleet/results/info")

    body = answer.json()
    assert (body["websocket"], body["cookie_needed"], body["origins"]) == (True, False, ["*:*"])
    assert isinstance(body["entropy"], int)
    assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize("path", ["/results", "/results/"])
async def test_the_greeting_is_sockjs_own(client, admin, path):
    answer = await client.get(f"/api/v1/fleet{path}")

    assert (answer.text, answer.headers["content-type"]) == ("Welcome to SockJS!\n", "text/plain; charset=utf-8")


class Browser:
    """A SockJS client's end of a connection."""

    def __init__(self, connection) -> None:
        self.connection = connection

    async def frame(self) -> str:
        async with asyncio.timeout(30):
            return await self.connection.recv()

    async def say(self, *messages: object) -> None:
        await self.connection.send(json.dumps([json.dumps(message) for message in messages]))

    async def heard(self) -> dict[str, object]:
        frame = await self.frame()
        assert frame.startswith("a"), frame
        [text] = json.loads(frame[1:])
        return json.loads(text)


@pytest.fixture
async def browser(door):
    async with connect(f"ws://{door}{PATH}/417/x7k2q_9z/websocket", max_size=None) as connection:
        yield Browser(connection)


def auth(member) -> dict[str, object]:
    return {"type": "auth", "data": {"token": member.token}}


def select(campaign: int) -> dict[str, object]:
    return {"type": "select_campaign", "data": {"campaign_id": campaign}}


async def test_a_browser_sees_open_then_messages_one_in_a_frame(fleet, admin, live_query, browser):
    host = await fleet.host("a")
    campaign = await live_query.campaign([host])

    opened = await browser.frame()
    await browser.say(auth(admin), select(campaign))
    kinds = [(await browser.heard())["type"] for _ in range(2)]
    await live_query.answer(campaign, host)
    result = await browser.heard()

    assert (opened, kinds) == ("o", ["totals", "status"])
    assert result["data"]["host"]["id"] == host


async def test_messages_may_come_one_by_one_or_as_a_lone_text_with_empty_frames_between(
    fleet, admin, live_query, browser
):
    campaign = await live_query.campaign([await fleet.host("a")])

    await browser.frame()
    await browser.say(auth(admin))
    await browser.connection.send("")
    await browser.connection.send("[]")
    await browser.connection.send(json.dumps(json.dumps(select(campaign))))

    assert (await browser.heard())["type"] == "totals"


async def test_a_refusal_is_a_message_and_a_close_frame(fleet, admin, live_query, browser):
    await browser.frame()
    await browser.say(auth(admin), select(99))

    assert await browser.heard() == {"type": "error", "data": "cannot find campaign for ID 99"}
    assert await browser.frame() == 'c[3000,"Go away!"]'
    await browser.connection.wait_closed()
    assert browser.connection.close_code == 1000


@pytest.mark.parametrize("frame", ['{"type":"auth"}', "[1]", "hello", '["a"'])
async def test_broken_framing_ends_the_connection(admin, browser, frame):
    await browser.frame()
    await browser.connection.send(frame)

    assert await browser.heard() == {"type": "error", "data": "broken framing"}
    assert (await browser.frame()).startswith("c[")


async def test_a_quiet_connection_beats(fleet, admin, live_query, monkeypatch, door):
    monkeypatch.setattr(campaign_feed, "HEARTBEAT_SECONDS", 0.1)
    campaign = await live_query.campaign([await fleet.host("a")])

    async with connect(f"ws://{door}{PATH}/0/abc/websocket") as connection:
        browser = Browser(connection)
        await browser.frame()
        await browser.say(auth(admin), select(campaign))
        await browser.heard()
        await browser.heard()

        assert [await browser.frame(), await browser.frame()] == ["h", "h"]


async def test_a_browser_that_says_nothing_is_sent_away(admin, monkeypatch, door):
    monkeypatch.setattr(campaign_stream, "HELLO_SECONDS", 0.1)

    async with connect(f"ws://{door}{PATH}/1/b/websocket") as connection:
        browser = Browser(connection)
        assert await browser.frame() == "o"
        assert (await browser.heard())["data"] == "timeout: nothing was selected"
        assert (await browser.frame()).startswith("c[")
