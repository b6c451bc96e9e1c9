"""What log-shipper can be told."""

import pytest
from log_shipper.settings import Settings
from pydantic import ValidationError

NEEDED = {
    "nats_url": "nats://x",
    "nats_user": "x",
    "nats_password": "x",
    "health_port": 1,
    "database_url": "postgresql://x",
    "blob_url": "file:///x",
}


@pytest.mark.parametrize("share", [0.81, 1.0, -0.1])
def test_a_replay_window_that_would_leave_the_gateways_no_room_is_refused(share):
    with pytest.raises(ValidationError, match="replay_window"):
        Settings(replay_window=share, **NEEDED)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
def test_a_replay_window_leaves_a_fifth_of_the_stream_for_what_is_new(share):
    assert Settings(replay_window=share, **NEEDED).replay_window == share
