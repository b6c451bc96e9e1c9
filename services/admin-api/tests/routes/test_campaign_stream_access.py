"""Who may watch a campaign over a raw WebSocket, and how many at once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from admin_api.routes import campaign_stream
from flotilla_common.testing.waiting import eventually
from websockets.exceptions import ConnectionClosedError, InvalidStatus

AUTH = {"type": "auth", "data": {"token": "TOKEN"}}
SELECT = {"type": "select_campaign", "data": {"campaign_id": 1}}


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        (["hello"], "unauthorized"),
        ([SELECT], "unauthorized"),
        ([{"type": "auth"}], "unauthorized"),
        ([{"type": "auth", "data": {"token": 5}}], "unauthorized"),
        ([{"type": "auth", "data": {"token": "nobody's"}}], "unauthorized"),
        ([{"type": "auth", "data": {"token": "\ud800"}}], "unauthorized"),
        ([b"\x00\x01"], "messages must be texts"),
        ([AUTH, AUTH], "expected select_campaign"),
        ([AUTH, "{"], "error reading select_campaign"),
        ([AUTH, {"type": "select_campaign"}], "error unmarshaling selectCampaign data"),
        ([AUTH, {**SELECT, "data": {"campaign_id": "1"}}], "error unmarshaling selectCampaign data"),
        ([AUTH, {**SELECT, "data": {"campaign_id": 1 << 70}}], "error unmarshaling selectCampaign data"),
        ([AUTH, {**SELECT, "data": {"campaign_id": 1, "last": "$"}}], "error unmarshaling selectCampaign data"),
        ([AUTH, {**SELECT, "data": {"campaign_id": 1, "last": "5"}}], "error unmarshaling selectCampaign data"),
        ([AUTH, {**SELECT, "data": {"campaign_id": 0}}], "0 is not a valid campaign ID"),
        ([AUTH, {**SELECT, "data": {"campaign_id": 99}}], "cannot find campaign for ID 99"),
        ([AUTH, SELECT, "{"], "unreadable message"),
    ],
)
async def test_who_says_something_else_is_told_so_and_sent_away(fleet, admin, live_query, dial, messages, error):
    await live_query.campaign([await fleet.host("a")])

    async with dial() as viewer:
        for message in messages:
            text = message if isinstance(message, str | bytes) else json.dumps(message).replace("TOKEN", admin.token)
            await viewer.connection.send(text)
        found = await viewer.next("error")
        code = await viewer.closed()

    assert found == {"type": "error", "data": error}
    assert code == 1000


async def test_who_says_nothing_is_sent_away(admin, dial, monkeypatch):
    monkeypatch.setattr(campaign_stream, "HELLO_SECONDS", 0.1)

    async with dial() as viewer:
        assert (await viewer.next())["data"] == "timeout: nothing was selected"
        await viewer.closed()


async def test_a_huge_message_is_not_even_read(admin, dial):
    async with dial() as viewer:
        await viewer.connection.send("x" * 70_000)
        with pytest.raises(ConnectionClosedError) as caught:
            await viewer.next()

    assert caught.value.rcvd.code == 1009


async def test_a_token_in_a_header_or_the_query_is_not_looked_at(fleet, admin, live_query, dial):
    await live_query.campaign([await fleet.host("a")])

    async with dial(f"/api/v1/fleet/results/websocket?token={admin.token}", additional_headers=admin.headers) as viewer:
        await viewer.send("select_campaign", {"campaign_id": 1})
        assert (await viewer.next())["data"] == "unauthorized"


ROLES = {"admin": "YY-", "maintainer": "YY-", "observer_plus": "YY-", "observer": "Y--", "gitops": "---"}
"""Per team role: others' campaigns on own hosts of a query that observers may run, of new SQL; one on foreign hosts."""


@pytest.mark.parametrize("role", ROLES)
async def test_who_may_watch_the_campaigns_of_others(fleet, live_query, watching, make_user, make_team, role):
    own = await make_team("Own")
    mine, theirs = await fleet.host("a", own), await fleet.host("b")
    shared = await fleet.query("shared", observer_can_run=True)
    campaigns = [
        await live_query.campaign([mine], 1, shared),
        await live_query.campaign([mine], 1),
        await live_query.campaign([mine, theirs], 1, shared),
    ]
    member = await make_user(role, own, api_only=role == "gitops")

    seen = ""
    for campaign in campaigns:
        async with watching(member, campaign) as viewer:
            first = await viewer.next()
            seen += {"totals": "Y", "error": "-"}[first["type"]]
            assert first["data"] == "forbidden" or first["type"] == "totals"

    assert seen == ROLES[role]


async def test_an_observer_watches_the_own_run(fleet, live_query, watching, make_user, make_team):
    own = await make_team("Own")
    observer = await make_user("observer", own)
    campaign = await live_query.campaign([await fleet.host("a", own)], observer.user_id)

    async with watching(observer, campaign) as viewer:
        assert (await viewer.next())["type"] == "totals"


async def test_pages_of_other_origins_are_refused_at_the_handshake(app, admin, dial, door):
    for origin in ("https://evil.example", "null", f"http://{door}.evil.example", "http://[", f"ftp://{door}"):
        with pytest.raises(InvalidStatus) as refused:
            async with dial(origin=origin):
                pass
        assert refused.value.response.status_code == 403, origin
    async with dial(origin=f"http://{door}") as viewer:
        await viewer.send("auth", {})
        assert (await viewer.next())["data"] == "unauthorized"


async def test_origins_that_the_settings_name_are_let_in(admin, dial, with_settings):
    with_settings(allowed_origins="https://ops.acme.test, https://b.test")

    async with dial(origin="https://OPS.acme.test") as viewer:
        await viewer.send("auth", {})
        assert (await viewer.next())["data"] == "unauthorized"


@pytest.fixture
def with_settings(app, deps):
    """`with_settings(most_viewers=1)`: the application goes on with these."""

    def change(**settings):
        app.state.deps = replace(deps, settings=deps.settings.model_copy(update=settings))

    return change


async def test_there_is_room_for_so_many_viewers_and_a_place_is_free_again(
    fleet, admin, live_query, dial, watching, deps, with_settings
):
    campaign = await live_query.campaign([await fleet.host("a")])
    with_settings(most_viewers=1)

    async with dial() as late:  # its handshake came while there was room
        async with watching(admin, campaign) as viewer:
            await viewer.next("totals")
            with pytest.raises(InvalidStatus) as refused:
                async with dial():
                    pass
            await late.send("auth", {"token": admin.token})
            await late.send("select_campaign", {"campaign_id": campaign})
            told = await late.next()
    await eventually(lambda: deps.views.viewers == 0)
    async with watching(admin, campaign) as viewer:
        assert (await viewer.next())["type"] == "totals"

    assert refused.value.response.status_code == 503
    assert told == {"type": "error", "data": "too many viewers"}


async def test_those_who_say_nothing_take_no_viewers_place(fleet, admin, live_query, dial, watching, with_settings):
    campaign = await live_query.campaign([await fleet.host("a")])
    with_settings(most_viewers=1)

    async with dial(), dial(), watching(admin, campaign) as viewer:
        assert (await viewer.next())["type"] == "totals"


async def test_only_so_many_may_be_silent_at_once(admin, dial, deps, with_settings):
    with_settings(most_hellos=1)

    async with dial():
        await eventually(lambda: deps.views.hellos == 1)
        with pytest.raises(InvalidStatus) as refused:
            async with dial():
                pass
    await eventually(lambda: deps.views.hellos == 0)
    async with dial() as viewer:
        await viewer.send("auth", {})
        assert (await viewer.next())["data"] == "unauthorized"

    assert refused.value.response.status_code == 503
