"""Rules of the house for the engine: layers, and no circles."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "rust" / "codex-obs-core" / "src"

# Folders and the files beside them, lowest first. One imports from lower layers only.
LAYERS = (
    ("problem",),
    (
        "block",
        "clock",
        "error",
        "generation",
        "limits",
        "paths",
        "prefetch",
        "primitives",
        "pulse",
        "words",
    ),
    ("fs", "process", "record", "spawn", "wait"),
    ("artifact", "lock", "sidecar", "stats", "structured"),
    ("http", "journal", "shard", "timeline"),
    ("encode", "scan"),
    ("run", "series", "summary", "worker"),
    ("rows",),
    ("follow", "recovery", "sessions"),
    ("deliver", "reading"),
    ("file_destination",),
    ("catalog", "log_lines", "mlflow", "session", "survey", "tensorboard", "wandb"),
    ("otlp",),
)
LAYER_OF = {module: number for number, modules in enumerate(LAYERS) for module in modules}
TEST_MODULE = re.compile(r'#\[cfg\((?:all\()?(?:test|loom).*\n(?:#\[path = "(.+?)"\]\n)?(?:pub )?mod (\w+);')


def modules_by_path() -> dict[str, Path]:
    """Modules of the engine by path, such as ``follow::cursor``, without those that are tests."""
    tests = set()
    for path in ENGINE.rglob("*.rs"):
        folder = path.parent if path.stem in {"mod", "lib"} else path.with_suffix("")
        for attribute, name in TEST_MODULE.findall(path.read_text()):
            tests.add(path.parent / attribute if attribute else folder / f"{name}.rs")
    names = {path: path.relative_to(ENGINE).with_suffix("").as_posix() for path in ENGINE.rglob("*.rs")}
    names = {path: name.removesuffix("/mod") for path, name in names.items()}
    return {name.replace("/", "::"): path for path, name in names.items() if path not in tests and name != "lib"}


def used_paths(tree: str) -> list[str]:
    """The paths in the tree of a `use`: ``a::{b, c::d}`` has ``a::b`` and ``a::c::d``."""
    head, brace, inner = tree.partition("{")
    if not brace:
        return [tree.strip()]
    parts, depth, part = [], 0, ""
    for character in inner.rpartition("}")[0] + ",":
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append(part)
            part = ""
        else:
            part += character
    return [head + path for part in parts if part.strip() for path in used_paths(part.strip())]


def imported_modules(name: str, modules: dict[str, Path]) -> set[str]:
    """Modules of the engine that one names outside of its tests."""
    text = re.split(r"#\[cfg\((?:all\()?test[^\n]*\nmod tests \{", modules[name].read_text())[0]
    text = re.sub(r"//[^\n]*", "", text)
    start = {"crate": "", "super": name.rpartition("::")[0], "self": name}
    found = set()
    for root, tree in re.findall(r"\b(crate|super|self)::((?:[\w:]|\{(?:[^{}]|\{[^{}]*\})*\})+)", text):
        for path in used_paths(" ".join(tree.split())):
            parts = [part for part in f"{start[root]}::{path}".split("::") if part]
            heads = ("::".join(parts[:length]) for length in range(len(parts), 0, -1))
            found |= set(next(([head] for head in heads if head in modules), []))
    return found - {name}


def test_a_folder_imports_only_from_lower_layers() -> None:
    modules = modules_by_path()
    folders = {name.partition("::")[0] for name in modules}
    assert folders == set(LAYER_OF), "a new folder needs a layer"
    higher = {
        f"{name} names {imported}"
        for name in modules
        for imported in imported_modules(name, modules)
        if (top := imported.partition("::")[0]) != (own := name.partition("::")[0]) and LAYER_OF[top] >= LAYER_OF[own]
    }
    assert higher == set()


def test_no_two_files_of_the_engine_import_each_other() -> None:
    modules = modules_by_path()

    def is_one(name: str, other: str) -> bool:
        """Whether one of them is the folder of the other."""
        return f"{name}::".startswith(f"{other}::") or f"{other}::".startswith(f"{name}::")

    graph = {name: {other for other in imported_modules(name, modules) if not is_one(name, other)} for name in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {error.args[1]}")
