"""SockJS frames."""

from __future__ import annotations

import pytest
from admin_api.domain import sockjs


def test_a_clients_array_carries_its_messages_in_order() -> None:
    assert sockjs.messages_of(r'["{\"type\":\"auth\"}","two"]') == ['{"type":"auth"}', "two"]


def test_a_lone_string_is_one_message() -> None:
    assert sockjs.messages_of('"one"') == ["one"]


def test_an_empty_frame_carries_nothing() -> None:
    assert sockjs.messages_of("") == []


@pytest.mark.parametrize("frame", ["{", '{"type":"auth"}', "[1]", "null", '["a"', "[" + '"x",' * 16 + '"x"]'])
def test_what_is_no_frame_is_refused(frame: str) -> None:
    with pytest.raises(sockjs.BadFrame):
        sockjs.messages_of(frame)


def test_a_message_goes_out_as_a_json_string_inside_an_array() -> None:
    assert sockjs.message_frame(['{"type":"totals"}']) == r'a["{\"type\":\"totals\"}"]'


def test_a_close_frame_has_code_and_reason() -> None:
    assert sockjs.close_frame(*sockjs.GO_AWAY) == 'c[3000,"Go away!"]'


def test_the_information_says_that_websockets_work() -> None:
    found = sockjs.information()

    assert found["websocket"] is True
    assert found["cookie_needed"] is False
    assert found["origins"] == ["*:*"]
