"""Ask all hosts of a running `make run` a question and print the rows as they come: an example of the live-query API.

.venv/bin/python tools/live_query.py "SELECT name, version FROM os_version"
"""

from __future__ import annotations

import argparse
import json
import ssl
import sys
from pathlib import Path

import httpx2
from websockets.sync.client import connect

API = "/api/v1/fleet"
SILENCE_SECONDS = 60.0


def main() -> int:
    """Start a campaign on every host of label 'All Hosts' and watch it until all who are online have answered."""
    parser = argparse.ArgumentParser("live_query", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sql")
    parser.add_argument("--home", type=Path, default=Path(".flotilla"), help="the folder of `make run`")
    chosen = parser.parse_args()
    try:
        dev = json.loads((chosen.home / "dev.json").read_text("utf-8"))
    except OSError as error:
        print(f"no running Flotilla in {chosen.home} ({error.strerror}): start it with `make run`", file=sys.stderr)
        return 1
    trust = ssl.create_default_context(cafile=dev["ca_file"])
    token = (chosen.home / "api_token").read_text("utf-8").strip()
    with httpx2.Client(base_url=dev["url"], verify=trust, headers={"Authorization": f"Bearer {token}"}) as client:
        labels = client.get(f"{API}/labels").raise_for_status().json()["labels"]
        everybody = [label["id"] for label in labels if label["name"] == "All Hosts"]
        body = {"query": chosen.sql, "selected": {"hosts": [], "labels": everybody, "teams": []}}
        started = client.post(f"{API}/queries/run", json=body)
    if not started.is_success:
        print(started.text, file=sys.stderr)
        return 1
    return watch(dev["url"], trust, token, started.json()["campaign"]["id"])


def watch(url: str, trust: ssl.SSLContext, token: str, campaign_id: int) -> int:
    """Print each row with its host; end when the campaign is finished for all who are online."""
    address = url.replace("https://", "wss://") + f"{API}/results/websocket"
    with connect(address, ssl=trust, max_size=None, open_timeout=SILENCE_SECONDS) as socket:
        socket.send(json.dumps({"type": "auth", "data": {"token": token}}))
        socket.send(json.dumps({"type": "select_campaign", "data": {"campaign_id": campaign_id}}))
        while True:
            frame = json.loads(socket.recv(SILENCE_SECONDS))
            data = frame["data"]
            if frame["type"] == "error":
                print(data, file=sys.stderr)
                return 1
            if frame["type"] == "status":
                print(f"{data['actual_results']} of {data['expected_results']} hosts", file=sys.stderr)
                if data["status"] == "finished":
                    return 0
            if frame["type"] == "result":
                for row in data["rows"] or []:
                    print(data["host"]["hostname"], json.dumps(row))


if __name__ == "__main__":
    sys.exit(main())
