"""Bodies in pieces: what arrives is the whole, and it was copied once on its way."""

import tracemalloc

import pytest
from flotilla_common.bus.bodies import Pieces
from flotilla_common.bus.custody import ATTEMPTS, CustodyPublisher
from flotilla_common.errors import Unavailable
from nats.protocol.command import hpub_cmd, pub_cmd

MIB = 1024 * 1024
SPLITS = [(), (b"",), (b"one",), (b"", b"[", b"\x00\r\n", b"", "é".encode(), b"]")]


@pytest.mark.parametrize("split", SPLITS)
def test_pieces_are_the_whole(split):
    whole = b"".join(split)
    pieces = Pieces(*split)
    assert (len(pieces), bytes(pieces)) == (len(whole), whole)
    for _ in range(2):  # none is used up
        assert b"head " + pieces + b" end" == b"head " + whole + b" end"
    assert hpub_cmd("a", "b", bytearray(b"head"), pieces) == hpub_cmd("a", "b", bytearray(b"head"), whole)
    assert pub_cmd("a", "b", pieces) == pub_cmd("a", "b", whole)


def test_pieces_are_copied_once():
    pieces = Pieces(*[bytes(MIB // 16)] * 16)
    tracemalloc.start()
    try:
        command = hpub_cmd("logs", "ack", bytearray(b"head"), pieces)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(command) > MIB
    assert peak < 1.5 * MIB


@pytest.mark.parametrize("split", [*SPLITS, (bytes(MIB), b"x" * MIB)])
async def test_the_stream_has_the_whole(bus_for, provision, split):
    custody = CustodyPublisher(await bus_for("agent_gateway"))
    await custody.open()

    sequence = await custody.publish("logs.result.v1.1", Pieces(*split), {"Flotilla-Lines": "1"})

    stored = await provision.get_msg("LOGS", sequence)
    assert (stored.data or b"") == b"".join(split)
    assert stored.headers["Flotilla-Lines"] == "1"


async def test_each_attempt_carries_the_whole(bus_for, monkeypatch):
    gateway = await bus_for("agent_gateway")
    custody = CustodyPublisher(gateway)
    await custody.open()
    monkeypatch.setattr("flotilla_common.bus.custody.ACK_TIMEOUT_SECONDS", 0.1)
    sent = []
    publish = gateway.client.publish

    async def record(subject, payload, **others):
        sent.append(bytes(payload))
        await publish(subject, payload, **others)

    monkeypatch.setattr(gateway.client, "publish", record)
    with pytest.raises(Unavailable):
        await custody.publish("hosts.seen.v1", Pieces(b"a", b"b"))  # that no stream takes

    assert sent == [b"ab"] * ATTEMPTS
