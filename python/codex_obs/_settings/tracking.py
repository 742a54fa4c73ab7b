"""Tracking URIs of MLflow: of a server, or of a store on this machine: a SQLite database, or a folder of files.

A store's URI is canonical when it has an absolute path: ``sqlite:////abs/mlflow.db``, ``file:///abs/mlruns``.
"""

from __future__ import annotations

import os

from codex_obs._settings.kinds import Address, Rejected, trimmed

SQLITE = "sqlite"
FILE = "file"
# What stands for the run directory, and the store in it.
RUN = "<run>"
STORE_IN_RUN = f"sqlite:///{RUN}/mlruns/mlflow.db"
_SERVERS = ("http", "https")
# MLflow takes these words for services, not for folders.
_SERVICES = ("databricks", "databricks-uc", "uc")
_HOSTS_OF_THIS_MACHINE = ("", "localhost", RUN)
_SWITCHES = ("true", "false", "yes", "no", "on", "off", "none", "null")
_REMEDY = (
    "give the address of a server such as http://127.0.0.1:5000, a database such as sqlite:///mlflow.db, or a folder "
    "such as ./mlruns"
)


class TrackingUri:
    """The address of an MLflow server, or a store on this machine: ``sqlite:///…``, ``file:…`` or a path.

    A path is made absolute against the working directory. One that begins with ``<run>`` is in the run directory, which
    is known once the run is opened.
    """

    def from_text(self, text: str) -> object:
        """Check a server's address, or make a store's URI canonical."""
        word = trimmed(text)
        if not word:
            return None
        scheme = scheme_of(word)
        if scheme in _SERVERS:
            return Address().from_text(word)
        store = store_uri(word)
        if store is None:
            raise Rejected(problem_of(word) or _REMEDY)
        return store

    def from_value(self, value: object) -> object:
        """Check an address, a path, or None."""
        if value is None:
            return None
        text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        if not isinstance(text, str):
            raise Rejected(_REMEDY)
        return self.from_text(text)


def scheme_of(uri: str) -> str:
    """Return what stands before the first colon, in lower case; nothing for a path."""
    scheme, colon, _ = uri.partition(":")
    is_scheme = scheme[:1].isalpha() and scheme.isascii() and scheme.replace("+", "").replace("-", "").isalnum()
    if colon and is_scheme:
        return scheme.lower()
    return uri.lower() if uri.lower() in _SERVICES else ""


def is_store(uri: str | None) -> bool:
    """Return whether a setting names a store on this machine."""
    return uri is not None and scheme_of(uri) in {SQLITE, FILE}


def store_uri(uri: str) -> str | None:
    """Make the URI of a store canonical. None if it names none, or one that cannot be used."""
    return None if problem_of(uri) else canonical(uri)


def canonical(uri: str) -> str:
    """Make the URI of a store that can be used canonical, or the path of a folder."""
    _, _, rest = uri.partition(":")
    if scheme_of(uri) == SQLITE:
        _, mark, options = rest.partition("?")
        return f"{database_uri(_sqlite_path(uri))}{mark}{options}"
    if scheme_of(uri) == FILE:
        from urllib.parse import unquote  # noqa: PLC0415 - as above

        if rest.startswith("//"):
            rest = rest.removeprefix("//").removeprefix("localhost")
        return folder_uri(unquote(rest))
    return folder_uri(os.path.expanduser(uri))  # noqa: PTH111 - pathlib takes milliseconds of the import


def problem_of(uri: str) -> str | None:
    """Say why a text cannot be the URI of a store on this machine; None if it can."""
    if not uri.isprintable():
        return "give it without control characters"
    problem = {SQLITE: _problem_of_database, FILE: _problem_of_folder, "": _problem_of_path}.get(scheme_of(uri))
    found = _REMEDY if problem is None else problem(uri)
    if found is None and scheme_of(uri) != SQLITE and is_hidden_from_mlflow(canonical(uri)):
        return "MLflow finds no run in a folder of files below one called artifacts: give sqlite:/// and a database"
    return found


def is_hidden_from_mlflow(uri: str) -> bool:
    """Return whether a canonical URI is a folder in which MLflow from 3.17 on finds no run (its ZDI-CAN-26649)."""
    return scheme_of(uri) == FILE and "artifacts" in path_of(uri).split("/")


def is_elsewhere(uri: str) -> bool:
    """Return whether a ``file:`` URI names another host."""
    host = uri.partition("://")[2].partition("/")[0]
    return scheme_of(uri) == FILE and host.lower() not in _HOSTS_OF_THIS_MACHINE


def in_run(uri: str | None, directory: str) -> str | None:
    """Put the run directory where a URI has ``<run>``. Where files of MLflow lie already, the store is these."""
    if uri is None or RUN not in uri:
        return uri
    folder = os.path.join(directory, "mlruns")  # noqa: PTH118 - pathlib takes milliseconds of the import
    if uri == STORE_IN_RUN and holds_files(folder) and not os.path.exists(f"{folder}/mlflow.db"):  # noqa: PTH110 - as above
        return folder_uri(folder)
    if scheme_of(uri) == SQLITE:
        return uri.replace(RUN, directory, 1)
    from urllib.parse import quote  # noqa: PLC0415 - rarely needed, and loaded late to keep the import short

    return uri.replace(RUN, quote(directory), 1)


def holds_files(folder: str) -> bool:
    """Return whether the data of a store of files lies in a folder."""
    try:
        with os.scandir(folder) as entries:
            return any(os.path.exists(f"{entry.path}/meta.yaml") for entry in entries)  # noqa: PTH110 - as above
    except OSError:
        return False


def path_of(uri: str) -> str:
    """Return the path of a store from its canonical URI."""
    if scheme_of(uri) == SQLITE:
        return _sqlite_path(uri)
    from urllib.parse import unquote  # noqa: PLC0415 - rarely needed, and loaded late to keep the import short

    return unquote(uri.partition("://")[2])


def folder_uri(path: str) -> str:
    """Return the canonical URI of a folder of files."""
    from urllib.parse import quote  # noqa: PLC0415 - as above

    return f"{FILE}://{quote(_absolute(path), safe='/<>')}"


def database_uri(path: str) -> str:
    """Return the canonical URI of a database."""
    return f"{SQLITE}:///{_absolute(path)}"


def _problem_of_database(uri: str) -> str | None:
    path = _sqlite_path(uri)
    if uri.partition(":")[2].startswith("///") and path not in {"", ":memory:"} and not path.startswith("file:"):
        return None
    return "give the file of a database, such as sqlite:///mlflow.db: one in memory ends with its process"


def _problem_of_folder(uri: str) -> str | None:
    if is_elsewhere(uri):
        return "a store on another host cannot be written: give file:///PATH of this machine, or a server's address"
    return None


def _problem_of_path(uri: str) -> str | None:
    if "://" in uri:
        return _REMEDY
    # The host of a server without its scheme, a database or a switch would be made as a folder.
    is_switch = uri[:1].isdigit() or uri.lower() in _SWITCHES
    if "/" not in uri and ("." in uri.strip(".") or is_switch):
        return "write ./ before the name of a folder, sqlite:/// before a database, http:// before a server"
    return None


def _sqlite_path(uri: str) -> str:
    return uri.partition(":")[2].removeprefix("///").partition("?")[0]


def _absolute(path: str) -> str:
    if path.startswith(f"{RUN}/"):
        return path
    return os.path.normpath(os.path.join(os.getcwd(), path))  # noqa: PTH109, PTH118 - as above
