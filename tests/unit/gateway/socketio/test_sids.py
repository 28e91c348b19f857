"""Session ids: whose they are, and where they stand in a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.socketio.sids import is_gateway_id, new_sid, owner_of, sid_in

SECRET = "A" * 22


@pytest.mark.parametrize("gateway_id", ["00", "07", "899", "a07", "hostabcd899", "12345678899"])
def test_a_new_sid_is_of_its_gateway(gateway_id: str) -> None:
    assert is_gateway_id(gateway_id)
    assert owner_of(new_sid(gateway_id)) == gateway_id


def test_no_two_are_equal() -> None:
    assert len({new_sid("00") for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize(
    "sid",
    [
        pytest.param("", id="nothing"),
        pytest.param("00", id="a gateway alone"),
        pytest.param(f".{SECRET}", id="no gateway"),
        pytest.param(f"0.{SECRET}", id="one digit"),
        pytest.param(f"a.{SECRET}", id="no number"),
        pytest.param(f"A00.{SECRET}", id="upper case"),
        pytest.param(f"abcdefghi00.{SECRET}", id="a host too long"),
        pytest.param(f"../../x00.{SECRET}", id="a path"),
        pytest.param(f"00/.{SECRET}", id="a slash"),
        pytest.param(f"00\0.{SECRET}", id="a NUL"),
        pytest.param(f"\u0660\u0660.{SECRET}", id="digits of another script"),
        pytest.param(f"00.{SECRET}\n", id="a line's end"),
        pytest.param(f"00.{SECRET[1:]}", id="a short secret"),
        pytest.param(f"00.{SECRET}A", id="a long secret"),
        pytest.param(f"00.{SECRET[1:]}+", id="not base64url"),
        pytest.param("00." + "A" * 1_000_000, id="huge"),
        pytest.param("0" * 1_000_000, id="huge, and no dot"),
    ],
)
def test_what_no_gateway_has_made_is_nobody_s(sid: str) -> None:
    assert owner_of(sid) is None


@given(st.text())
def test_whatever_is_asked_for_no_path_comes_of_it(sid: str) -> None:
    owner = owner_of(sid)
    assert owner is None or (owner.isascii() and owner.isalnum())


@pytest.mark.parametrize(
    ("query", "sid"),
    [
        pytest.param("", None, id="nothing"),
        pytest.param("EIO=4&transport=polling&t=abc", None, id="a new session"),
        pytest.param("EIO=4&transport=polling&sid=00.A", "00.A", id="last"),
        pytest.param("sid=00.A&EIO=4", "00.A", id="first"),
        pytest.param("EIO=4&sid=00.A&t=1", "00.A", id="in the middle"),
        pytest.param("sid=00%2eA", "00.A", id="percent signs"),
        pytest.param("s%69d=00.A", "00.A", id="percent signs in its name"),
        pytest.param("%73%69%64=00.A", "00.A", id="its whole name of them"),
        pytest.param("sid=a+b", "a b", id="a plus is a space"),
        pytest.param("sid=%ff%zz", "\ufffd%zz", id="no UTF-8, no hex"),
        pytest.param("sid=00.A&sid=01.B", "00.A", id="two"),
        pytest.param("sid=&sid=01.B", "01.B", id="the first is empty"),
        pytest.param("sid=", None, id="empty"),
        pytest.param("sid", None, id="without a value"),
        pytest.param("asid=00.A", None, id="the end of another name"),
        pytest.param("sid2=00.A", None, id="the beginning of another name"),
        pytest.param("a=sid=00.A", None, id="in another's value"),
        pytest.param("SID=00.A", None, id="upper case"),
        pytest.param("sid=00.A=B", "00.A=B", id="an equals sign"),
    ],
)
def test_the_sid_of_a_query(query: str, sid: str | None) -> None:
    assert sid_in(query) == sid
