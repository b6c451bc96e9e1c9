"""Teams: made, read, changed, removed."""

from __future__ import annotations

PREFIX = "/api/latest/fleet"


async def create(client, member, **body):
    answer = await client.post(f"{PREFIX}/teams", headers=member.headers, json={"name": "Servers", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()["team"]


async def test_a_new_team_has_a_copy_of_the_global_options_and_a_random_secret(client, admin):
    config = (await client.get(f"{PREFIX}/config", headers=admin.headers)).json()

    team = await create(client, admin, description="racks")

    assert team["name"] == "Servers"
    assert team["description"] == "racks"
    assert team["agent_options"] == config["agent_options"]
    assert team["features"] == config["features"]
    assert team["merge_mode"] == "replace"
    assert team["host_count"] == 0
    assert [len(secret["secret"]) for secret in team["secrets"]] == [32]
    assert team["secrets"][0]["team_id"] == team["id"]


async def test_a_new_team_that_merges_states_nothing(client, admin):
    team = await create(client, admin, merge_mode="merge")

    assert team["agent_options"] == {}
    assert team["merge_mode"] == "merge"
