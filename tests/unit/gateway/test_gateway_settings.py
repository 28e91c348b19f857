"""A gateway's settings, through the loader that all processes share."""

from __future__ import annotations

import pytest

from broker.errors import BadSetting
from broker.settings import load
from gateway.settings import GatewaySettings


def loaded(**variables: str) -> GatewaySettings:
    env = {f"PENSTOCK_GATEWAY__{name.upper()}": value for name, value in variables.items()}
    return load(GatewaySettings, "gateway", env=env)


@pytest.mark.parametrize(
    ("variables", "own", "admin"),
    [
        pytest.param({}, 8101, 9101, id="the first gateway"),
        pytest.param({"number": "3"}, 8104, 9104, id="the fourth"),
        pytest.param({"number": "3", "own_port": "0", "admin_port": "0"}, 0, 0, id="the kernel picks"),
        pytest.param({"own_port": "7000", "admin_port": "7001"}, 7000, 7001, id="given"),
    ],
)
def test_ports_follow_the_number(variables: dict[str, str], own: int, admin: int) -> None:
    settings = loaded(**variables)
    assert (settings.effective_own_port, settings.effective_admin_port) == (own, admin)


@pytest.mark.parametrize(
    ("variables", "gateway_id"),
    [
        pytest.param({}, "00", id="the first gateway"),
        pytest.param({"number": "899"}, "899", id="the last"),
        pytest.param({"number": "7", "host_id": "a"}, "a07", id="of a host"),
        pytest.param({"host_id": "7"}, "700", id="a host that is a number"),
    ],
)
def test_a_gateway_has_an_id(variables: dict[str, str], gateway_id: str) -> None:
    assert loaded(**variables).gateway_id == gateway_id


@pytest.mark.parametrize("host_id", ["A", "a-b", "abcdefghi", "a/b", "a\n"])
def test_an_id_that_is_none_is_refused(host_id: str) -> None:
    with pytest.raises(BadSetting, match="HOST_ID"):
        loaded(host_id=host_id)


def test_origins_are_a_list() -> None:
    assert loaded(origins='["https://a.example"]').origins == ("https://a.example",)


def test_as_installed_nobody_may_publish() -> None:
    assert loaded().anonymous_publish == ()
    assert loaded(anonymous_publish='["room/**", "a"]').anonymous_publish == ("room/**", "a")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        pytest.param('["a/**/b"]', "only be the last segment", id="no pattern"),
        pytest.param('["a", "$broker/**"]', "the system's own", id="the system's own"),
        pytest.param("room/**", "malformed", id="no list"),
    ],
)
def test_where_everybody_may_publish_is_checked_at_the_start(value: str, named: str) -> None:
    with pytest.raises(BadSetting, match=f"PENSTOCK_GATEWAY__ANONYMOUS_PUBLISH.*{named}"):
        loaded(anonymous_publish=value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", "65536"), ("port", "-1"), ("number", "x"), ("feed", "localhost:5556"), ("history_max", "2001")],
)
def test_what_is_out_of_range_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=f"PENSTOCK_GATEWAY__{name.upper()}"):
        loaded(**{name: value})
