"""Where spans go, by the environment: ours or OpenTelemetry's, and never both."""

from __future__ import annotations

import pytest

import codex_obs
from codex_obs import telemetry
from codex_obs.destinations import otlp

SECRET = "canary-" + "51e0"
ON = {"CODEX_OTLP_ENABLE": "Yes"}
THEIRS = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://theirs:4318",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "ca.pem",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": "key.pem",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "cert.pem",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
}


def test_it_is_off_unless_it_is_enabled() -> None:
    assert not otlp.read(THEIRS | {"CODEX_OTLP_ENDPOINT": "http://ours:4318"}).is_enabled
    assert not otlp.read(ON | THEIRS | {"OTEL_SDK_DISABLED": "TRUE"}).is_enabled
    assert otlp.read(THEIRS, enabled=True).is_enabled


def test_theirs_count_where_none_of_ours_is_set() -> None:
    found = otlp.read(ON | THEIRS)
    assert (found.endpoint, found.is_whole, found.timeout_s) == ("http://theirs:4318", False, 2.5)
    assert found.headers == (("authorization", "Bearer abc"),)
    assert [path for _, path in filter(None, found.certificates)] == ["cert.pem", "key.pem", "ca.pem"]
    whole = otlp.read(ON | THEIRS | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://theirs/x"})
    assert (whole.endpoint, whole.is_whole) == ("http://theirs/x", True)


@pytest.mark.parametrize("name", ["CODEX_OTLP_ENDPOINT", "CODEX_OTLP_HEADERS", "CODEX_OTLP_CACERTFILE"])
def test_one_of_ours_switches_theirs_off(name: str) -> None:
    values = {"CODEX_OTLP_ENDPOINT": "http://ours", "CODEX_OTLP_HEADERS": "a=b", "CODEX_OTLP_CACERTFILE": "our.pem"}
    found = otlp.read(ON | THEIRS | {name: values[name]}, needs_endpoint=False)
    assert "theirs" not in repr(found)
    assert "abc" not in repr(found)
    assert found.timeout_s is None


def test_enabled_without_an_endpoint_is_an_error_that_says_so() -> None:
    with pytest.raises(codex_obs.SettingError, match="no endpoint is set: give CODEX_OTLP_ENDPOINT"):
        otlp.read(ON)


def test_headers_are_split_decoded_and_lower_cased_and_the_last_one_wins() -> None:
    text = 'X-A=1, x-b="c,d;e" ; X-C=Bearer%20a%2Cb;x-a=2;x-d=%zz;;'
    found = otlp.parse_headers(text, "H")
    assert dict(found) == {"x-a": "2", "x-b": "c,d;e", "x-c": "Bearer a,b", "x-d": "%zz"}


@pytest.mark.parametrize("pair", [SECRET, f"={SECRET}", f"a b={SECRET}", f"k={SECRET}%0A"])
def test_a_pair_that_cannot_be_used_is_named_by_its_position_alone(pair: str) -> None:
    with pytest.raises(codex_obs.SettingError, match="pair 2 is not name=value") as raised:
        otlp.parse_headers(f"a=b,{pair}", "CODEX_OTLP_HEADERS")
    assert SECRET not in str(raised.value)


def test_the_service_is_said_by_their_variables_always() -> None:
    variables = {"OTEL_SERVICE_NAME": "svc", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,team=a%20b,broken"}
    assert dict(otlp.read(variables).resource) == {"service.name": "svc", "team": "a b"}


def test_another_protocol_is_a_remark() -> None:
    found = otlp.read(ON | THEIRS | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"})
    (remark,) = found.remarks
    assert remark.startswith("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL asks for another protocol than http/protobuf")


def test_configure_says_what_is_in_force() -> None:
    try:
        found = telemetry.configure(ON | THEIRS)
        assert (found.enabled, found.endpoint, found.exporter) == (True, "http://theirs:4318", None)
        assert telemetry.configure({}) == (False, None, None, False)
        with pytest.raises(codex_obs.SettingError, match="CODEX_OTLP_ENABLE cannot be used"):
            telemetry.configure({"CODEX_OTLP_ENABLE": "perhaps"})
    finally:
        telemetry.configure({})


@pytest.mark.parametrize("address", ["ftp://h", "127.0.0.1:4318", "http://h:99999"])
@pytest.mark.parametrize("name", ["CODEX_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_address_that_cannot_be_used_is_refused_by_its_variable(address: str, name: str) -> None:
    with pytest.raises(codex_obs.SettingError, match=f"^{name}(: | cannot be used)"):
        telemetry.configure({"CODEX_OTLP_ENABLE": "1", name: address})


def test_a_password_is_in_no_repr() -> None:
    found = telemetry.configure({"CODEX_OTLP_ENABLE": "1", "CODEX_OTLP_ENDPOINT": "http://user:canary@h:1"})
    assert found.endpoint == "http://***@h:1"
    assert "canary" not in repr(found)
