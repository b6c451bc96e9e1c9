"""The document of the API and its page: everything comes from this server."""

from __future__ import annotations

import json
import re

from admin_api import openapi

ADDRESS = re.compile(r"""(?:src|href|url)\s*[=:]\s*["']([^"']*)""")


async def test_the_page_names_no_other_host_and_all_it_needs_is_here(client):
    page = await client.get("/api/docs")

    addresses = ADDRESS.findall(page.text)
    assert page.status_code == 200
    assert len(addresses) >= 3
    assert all(address.startswith("/api/") for address in addresses)
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text, flags=re.DOTALL).replace("https://", "//!")
    for address in addresses:
        assert (await client.get(address)).status_code == 200


async def test_the_front_door_leads_browsers_to_the_page_and_is_nothing_for_others(client):
    browser = await client.get("/", headers={"Accept": "text/html,application/xhtml+xml;q=0.9"}, follow_redirects=False)
    script = await client.get("/", headers={"Accept": "*/*"}, follow_redirects=False)

    assert (browser.status_code, browser.headers["location"], browser.headers["vary"]) == (307, "/api/docs", "Accept")
    assert (script.status_code, script.json()["message"]) == (404, "Not Found")


async def test_a_browser_may_load_nothing_from_elsewhere(client):
    page = await client.get("/api/docs")

    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_the_document_is_there_before_setup_and_shows_one_version(client):
    document = (await client.get("/api/openapi.json")).json()

    assert document["info"]["title"] == "Flotilla admin API"
    assert all(path.startswith("/api/latest/fleet/") or path == "/api/setup" for path in document["paths"])
    assert "/api/latest/fleet/teams/{team_id}/agent_options" in document["paths"]
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_the_document_can_be_written_to_a_file(tmp_path, capsys):
    path = tmp_path / "openapi.json"

    assert openapi.main([str(path)]) == 0
    assert openapi.main([]) == 2
    assert json.loads(path.read_text())["openapi"].startswith("3.")
    assert "usage" in capsys.readouterr().err
