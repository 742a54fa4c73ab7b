"""Addresses without what is secret in them."""

from __future__ import annotations

_HIDDEN = "***"
_STORES = ("sqlite", "file")


def hidden_user_info(uri: str) -> str:
    """Put ``***`` in the place of a user name and password, for people to read."""
    return _with_user_info(uri, f"{_HIDDEN}@")


def without_user_info(uri: str) -> str:
    """Leave a user name and password out."""
    return _with_user_info(uri, "")


def _with_user_info(uri: str, replacement: str) -> str:
    scheme, separator, rest = uri.partition("://")
    # A path may have an `@`.
    if not separator or scheme.lower() in _STORES:
        return uri
    # An `@` further on is refused by the setting, so that a password with a `/` is not taken for a host.
    _, at, address = rest.rpartition("@")
    return f"{scheme}://{replacement}{address}" if at else uri
