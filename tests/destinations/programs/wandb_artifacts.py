"""The part of W&B's server that artifacts go to: what it answers, and what it was given."""

from typing import Any

# By the identifier of an artifact: its files by name.
uploaded: dict[str, dict[str, str]] = {}
committed: list[str] = []
_names: dict[str, str] = {}
_KIND = "codex_obs"


def answer(query: str, variables: dict[str, Any], uploads: str) -> dict[str, Any]:
    """Answer the part of a request that is about artifacts.

    Args:
        query: What is asked.
        variables: Its variables.
        uploads: Address that files are sent to.
    """
    given = variables.get("input") or {}
    data: dict[str, Any] = {}
    if "query ArtifactType(" in query:
        data["project"] = {"artifact": None}
    if "mutation CreateArtifact " in query:
        identifier = f"A{len(_names)}"
        _names[identifier] = given["artifactCollectionName"]
        sequence = {"latestArtifact": None}
        data["createArtifact"] = {"artifact": {"id": identifier, "state": "PENDING", "artifactSequence": sequence}}
    if "mutation CreateArtifactManifest " in query:
        file = {"id": "F", "uploadUrl": f"{uploads}/manifest", "uploadHeaders": []}
        data["createArtifactManifest"] = {"artifactManifest": {"id": "M", "file": file}}
    if "mutation CreateArtifactFiles " in query:
        edges = [{"node": _file(each, uploads)} for each in given["artifactFiles"]]
        data["createArtifactFiles"] = {"files": {"edges": edges}}
    if "mutation CommitArtifact " in query:
        committed.append(variables["artifactID"])
        data["commitArtifact"] = {"artifact": {"id": variables["artifactID"], "digest": "d"}}
    if "query ArtifactByID " in query:
        data["artifact"] = _artifact(variables["id"])
    return data


def put(path: str, content: bytes) -> None:
    """Keep a file that was sent to an address."""
    identifier, _, name = path.partition("/up/")[2].partition("/")
    if identifier in _names:
        uploaded.setdefault(identifier, {})[name] = content.decode(errors="replace")


def _file(given: dict[str, Any], uploads: str) -> dict[str, Any]:
    identifier, name = given["artifactID"], given["name"]
    return {
        "storagePath": None,
        "uploadUrl": f"{uploads}/{identifier}/{name}",
        "uploadHeaders": [],
        "uploadMultipartUrls": None,
        "artifact": {"id": identifier},
    }


def _artifact(identifier: str) -> dict[str, Any]:
    project = {"id": "P", "internalId": "1", "name": "p", "entity": {"name": "me"}}
    return {
        "__typename": "Artifact",
        "id": identifier,
        "artifactSequence": {"__typename": "ArtifactSequence", "name": _names[identifier], "project": project},
        "versionIndex": 0,
        "artifactType": {"name": _KIND},
        "description": None,
        "metadata": "{}",
        "ttlDurationSeconds": -2,
        "ttlIsInherited": True,
        "tags": [],
        "historyStep": None,
        "state": "COMMITTED",
        "size": 1,
        "digest": "d",
        "commitHash": "c",
        "fileCount": 1,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": None,
        "aliases": [],
    }
