"""The command line, and a fleet in a process of its own."""

import ssl
from pathlib import Path

import pytest
from osquery_simulator import arguments
from osquery_simulator.testing import FakeServer, FleetProcess

SCHEDULE = {
    "schedule": {"tick": {"query": "SELECT unix_time FROM time", "interval": 1, "snapshot": True}},
    "options": {"logger_tls_period": 1, "distributed_interval": 1},
}


def test_the_help_teaches_by_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse(["--help"])
    said = capsys.readouterr().out

    assert ended.value.code == 0
    assert said.count("python -m osquery_simulator --url") >= 1
    assert "a minute of load with an exact account of every log line" in said
    assert "new TLS connection for every request" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--enroll-secret"),
        (["--enroll-secret", "x", "--enroll-secret-file", "y"], "not allowed with"),
        (["--enroll-secret-file", "/no/such/file"], "cannot read the enroll secret"),
        (["--enroll-secret", "x", "--ca-file", "/no/such/file"], "is no file"),
        (["--enroll-secret", "x", "--profiles", "amiga=3"], "names: ubuntu, rhel, macos, windows"),
        (["--enroll-secret", "x", "--profiles", "ubuntu=3", "--hosts", "4"], "add up to 3"),
        (["--enroll-secret", "x", "--flag", "no_such_flag=1"], "the name of an osquery flag"),
        (["--enroll-secret", "x", "--interval-scale", "0"], "above 0"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_said(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse(words)

    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_command_line_becomes_settings(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(" s3cret\n")
    words = ["--enroll-secret-file", str(secret), "--profiles", "ubuntu=2,windows=1", "--flag", "config_refresh=10"]
    order = arguments.parse([*words, "--flag=--logger_tls_compress=true", "--account", "a.json", "--duration", "5"])

    assert order.settings.enroll_secret == "s3cret"
    assert order.settings.hosts == 3
    assert order.settings.flags == {"config_refresh": "10", "logger_tls_compress": "true"}
    assert order.settings.numbers_lines
    assert order.duration_seconds == 5


async def test_a_fleet_in_its_own_process_leaves_an_exact_account(
    server_tls: ssl.SSLContext, certificate: Path, tmp_path: Path
) -> None:
    async with FakeServer(server_tls) as server:
        server.answers["config"] = [SCHEDULE]
        async with FleetProcess(
            tmp_path, url=server.url, ca_file=certificate, enroll_secret="secret", hosts=3, flags={"config_refresh": 5}
        ) as fleet:
            await fleet.until(lambda report: report["lines"]["result"]["accepted"] >= 6)
            hosts = fleet.hosts()
            account = await fleet.stop()
    sent = [line["decorations"]["simulator_line"] for post in server.logs() for line in post.body["data"]]
    accepted = account.accepted_ids()

    assert {host["profile"] for host in hosts} == {"ubuntu", "windows"}
    assert [host["config"] for host in hosts] == [SCHEDULE] * 3
    assert set(account.accepted) == {host["host_identifier"] for host in hosts}
    assert len(accepted) == len(set(accepted)) == account.total["result"]["accepted"]
    assert set(accepted) <= set(sent)
    assert all(
        counts["produced"] == counts["accepted"] + counts["dropped"] + counts["waiting"]
        for kinds in account.hosts.values()
        for counts in kinds.values()
    )


async def test_a_second_fleet_in_the_same_folder_does_not_show_the_report_of_the_first(
    certificate: Path, tmp_path: Path
) -> None:
    (tmp_path / "report.json").write_text('{"hosts_enrolled": 1}')
    async with FleetProcess(tmp_path, url="https://127.0.0.1:1", ca_file=certificate, enroll_secret="s") as fleet:
        report = await fleet.until(lambda report: True)

    assert report["hosts_enrolled"] == 0


async def test_a_fleet_that_ends_by_itself_says_why(certificate: Path, tmp_path: Path) -> None:
    wrong = FleetProcess(
        tmp_path, url="https://127.0.0.1:1", ca_file=certificate, enroll_secret="s", arguments=("--no-such-word",)
    )
    async with wrong as fleet:
        with pytest.raises(RuntimeError, match="--no-such-word"):
            await fleet.until(lambda report: report)
