"""OTLP traces: the variables that say whether spans go to a collector, and where. Nothing is read or sent here.

Ours and OpenTelemetry's are never merged: as soon as one of ours names an endpoint, a header or a file, only ours
count.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from codex_obs._settings.entry import EnvVar
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENABLE = "CODEX_OTLP_ENABLE"
ENDPOINT = "CODEX_OTLP_ENDPOINT"
HEADERS = "CODEX_OTLP_HEADERS"
_FILES = ("CODEX_OTLP_CERTFILE", "CODEX_OTLP_KEYFILE", "CODEX_OTLP_CACERTFILE")
_THEIR_FILES = ("CLIENT_CERTIFICATE", "CLIENT_KEY", "CERTIFICATE")
_THEIRS = "OTEL_EXPORTER_OTLP_"
_TRACES = "OTEL_EXPORTER_OTLP_TRACES_"
_SERVICE = "OTEL_SERVICE_NAME"
_RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"
_DISABLED = "OTEL_SDK_DISABLED"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})
_PROTOCOL = "http/protobuf"
_SERVICE_NAME = "codex_obs"
_SEPARATORS = ",;"
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# The specification counts milliseconds, and OpenTelemetry's own SDK for Python seconds: nobody waits a tenth of a
# second.
_LEAST_MILLISECONDS = 100

VARIABLES = (
    EnvVar(
        ENABLE,
        "off",
        "1, true, yes or on: spans of `codex_obs.telemetry` go to a collector over OTLP. The next ones say where.",
    ),
    EnvVar(ENDPOINT, "none", "Address of the collector, such as http://127.0.0.1:4318, with or without `/v1/traces`."),
    EnvVar(
        HEADERS,
        "none",
        "Headers of each request: `name=value`, separated by commas or semicolons, percent-encoded; a value in double "
        "quotes may hold either.",
    ),
    EnvVar(_FILES[0], "none", "PEM file with a certificate to show to the collector."),
    EnvVar(_FILES[1], "the file of the certificate", "PEM file with its unencrypted private key."),
    EnvVar(
        _FILES[2], "the system's list of authorities", "PEM file with the authorities that the collector is trusted by."
    ),
    *(
        EnvVar(
            f"{prefix}{name}",
            "none",
            f"OpenTelemetry's own variable, read if {ENABLE} is on and none of {ENDPOINT}, {HEADERS} and the three "
            "files is set.",
        )
        for name in ("ENDPOINT", "HEADERS", *_THEIR_FILES, "TIMEOUT", "PROTOCOL")
        for prefix in (_THEIRS, _TRACES)
    ),
    EnvVar(_SERVICE, _SERVICE_NAME, "What a collector is told makes the spans."),
    EnvVar(_RESOURCE, "none", "What else a collector is told of that: `key=value`, separated by commas."),
    EnvVar(_DISABLED, "false", f"`true`: nothing goes to a collector, whatever {ENABLE} says."),
    EnvVar(
        "TRACEPARENT", "none", "Parent of the spans of this process that have no other, as W3C Trace Context spells it."
    ),
    EnvVar(
        "CODEX_OBS_CAPTURE_CONTENT",
        "off",
        "1, true, yes or on: spans keep their content, which are inputs, arguments, outputs, diffs and messages of "
        "exceptions.",
    ),
)


class Otlp(NamedTuple):
    """Where spans go.

    Attributes:
        is_enabled: Whether they go anywhere.
        endpoint: The collector.
        named_by: Where that is said.
        is_whole: Whether nothing is added to that.
        headers: Names and values, which may be secret.
        certificates: Variable and path of our certificate, its key and the authorities, as far as they are set.
        timeout_s: Longest time of a request.
        resource: What is said of who makes the spans.
        remarks: What the user should hear.
    """

    is_enabled: bool = False
    endpoint: str | None = None
    named_by: str = ENDPOINT
    is_whole: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    certificates: tuple[tuple[str, str] | None, ...] = (None, None, None)
    timeout_s: float | None = None
    resource: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


def read(variables: Mapping[str, str], *, enabled: bool | None = None, needs_endpoint: bool = True) -> Otlp:
    """Read where spans go.

    Args:
        variables: The environment.
        enabled: Whether they do, whatever the variables say.
        needs_endpoint: Whether it is an error if nothing says where.

    Raises:
        SettingError: If a variable cannot be used. The text names it, and no value of it.
    """

    def text(name: str) -> str | None:
        return variables.get(name, "").strip() or None

    is_enabled = enabled if enabled is not None else is_on(ENABLE, variables.get(ENABLE, ""))
    if variables.get(_DISABLED, "").strip().lower() == "true":
        is_enabled = False
    resource = _resource(variables)
    if not is_enabled:
        return Otlp(resource=resource)
    if any(text(name) for name in (ENDPOINT, HEADERS, *_FILES)):
        files = tuple(_named(name, text(name)) for name in _FILES)
        found = Otlp(
            is_enabled=True, endpoint=text(ENDPOINT), headers=parse_headers(text(HEADERS), HEADERS), certificates=files
        )
    else:
        found = _theirs(text)
    if found.endpoint is None and needs_endpoint:
        why = f"{ENABLE} is on" if enabled is None else "spans are to be sent"
        raise SettingError(f"{why} and no endpoint is set: give {ENDPOINT}, such as http://127.0.0.1:4318.")
    return found._replace(resource=resource)


def _theirs(text: _Text) -> Otlp:
    def either(name: str) -> tuple[str, str] | None:
        return _named(_TRACES + name, text(_TRACES + name)) or _named(_THEIRS + name, text(_THEIRS + name))

    endpoint, headers = either("ENDPOINT"), either("HEADERS")
    protocol, timeout = either("PROTOCOL"), either("TIMEOUT")
    remarks: tuple[str, ...] = ()
    if protocol is not None and protocol[1].lower() != _PROTOCOL:
        remarks = (f"{protocol[0]} asks for another protocol than {_PROTOCOL}, which is the one that is spoken",)
    return Otlp(
        is_enabled=True,
        endpoint=endpoint[1] if endpoint else None,
        named_by=endpoint[0] if endpoint else ENDPOINT,
        is_whole=endpoint is not None and endpoint[0].startswith(_TRACES),
        headers=parse_headers(headers[1], headers[0]) if headers else (),
        certificates=tuple(either(name) for name in _THEIR_FILES),
        timeout_s=_seconds(*timeout) if timeout else None,
        remarks=remarks,
    )


def is_on(name: str, text: str) -> bool:
    """Return whether a switch is on.

    Raises:
        SettingError: If it is neither on nor off.
    """
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise SettingError(f"{name} cannot be used: give 1, true, yes or on, or unset it.")


def parse_headers(text: str | None, variable: str) -> tuple[tuple[str, str], ...]:
    """Read headers: later ones of a name win.

    Raises:
        SettingError: If a pair cannot be used. It is named by its position, since its text may be secret.
    """
    found: dict[str, str] = {}
    for position, pair in enumerate(_split(text or ""), 1):
        if not pair.strip():
            continue
        name, equals, value = (part.strip() for part in pair.partition("="))
        if len(value) > 1 and value.startswith('"') and value.endswith('"'):
            value = value[1:-1]
        value = unquote(value)
        if not equals or not _NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise SettingError(
                f"{variable} cannot be used: pair {position} is not name=value of characters that an HTTP header may "
                "have."
            )
        found.pop(name.lower(), None)
        found[name.lower()] = value
    return tuple(found.items())


def _split(text: str) -> Iterator[str]:
    start, is_quoted = 0, False
    for index, character in enumerate(text):
        if character == '"':
            is_quoted = not is_quoted
        elif character in _SEPARATORS and not is_quoted:
            yield text[start:index]
            start = index + 1
    yield text[start:]


def _resource(variables: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found = {"service.name": _SERVICE_NAME}
    for pair in variables.get(_RESOURCE, "").split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if key and equals:
            found[unquote(key)] = unquote(value)
    if service := variables.get(_SERVICE, "").strip():
        found["service.name"] = service
    return tuple(found.items())


def _named(variable: str, value: str | None) -> tuple[str, str] | None:
    return None if value is None else (variable, value)


def _seconds(variable: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise SettingError(f"{variable} cannot be used: give a number of milliseconds above 0, or unset it.")
    return number / 1000 if number >= _LEAST_MILLISECONDS else number


if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    _Text: TypeAlias = Callable[[str], str | None]
