"""Rules of the house that no linter knows: layers, public names, length of files."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import codex_obs

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "codex_obs"
MAX_LINES = 500

FRAMEWORKS = (
    "accelerate",
    "gymnasium",
    "hydra",
    "keras",
    "lightning",
    "optuna",
    "ray",
    "sklearn",
    "stable_baselines3",
    "transformers",
)
# Folders and the files beside them, lowest first; a module that stands below its folder has a place of its own. Each
# imports from its own layer and from lower ones.
LAYERS = (
    ("errors", "types", "_json", "_mistakes", "_problems", "_psutil", "_visible", "rl"),
    ("_settings.kinds", "_settings.entry"),
    ("_settings.tracking",),
    ("destinations.base", "destinations.mlflow", "destinations.otlp", "destinations.tensorboard", "destinations.wandb"),
    ("destinations.registry",),
    ("_settings",),
    ("_structure", "_extra", "_names", "_nonfinite", "_derived", "_git", "_moments", "_splits"),
    ("_rank", "_launcher", "_beginning"),
    ("_backend",),
    ("destinations", "system"),
    ("mlflow_guard",),
    ("_artifact", "_console", "_cuda", "_deferral", "_open_runs", "_exit", "_export", "_remarks", "_job", "_place"),
    ("_prometheus",),
    ("sidecar",),
    ("_beside",),
    ("_spans_read", "_telemetry", "_versions"),
    ("_catalog", "_drawing", "_inspection", "_notebook", "_run", "_selection", "_series", "reading"),
    ("_inheritance", "_opening", "api", "flags", "testing"),
    ("telemetry",),
    ("integrations",),
    ("__init__",),
    ("_sources", "viewers"),
    ("commands",),
    ("cli",),
    ("__main__",),
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
# Modules outside of a folder that use what is private in it.
MAY_LOOK_INTO = {"cli": "commands"}
# What every module beside it may know: a plugin knows it as well.
FOR_ALL = {"destinations.base"}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a file imports when it runs: what stands under TYPE_CHECKING does not count."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= {inner for statement in node.body for inner in ast.walk(statement)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {_module(alias.name) for alias in node.names if alias.name.split(".")[0] == "codex_obs"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "codex_obs":
            assert node.module is not None
            package = node.module.removeprefix("codex_obs").removeprefix(".")
            for name in node.names:
                inner = f"{package}.{name.name}" if package else name.name
                found.add(inner if is_module(inner) else package or "__init__")
    return found


def is_module(name: str) -> bool:
    return name == "_core" or name in MODULES


def folder_of(name: str) -> str:
    """The folder at the top of the package in which a module lies, or the module itself."""
    return name.partition(".")[0]


def layer_of(name: str) -> int:
    return LAYER_OF[name if name in LAYER_OF else folder_of(name)]


def is_private(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_")


def is_installed(integration: str) -> bool:
    return importlib.util.find_spec(integration.removeprefix("integrations.")) is not None


def _module(name: str) -> str:
    return name.removeprefix("codex_obs").removeprefix(".") or "__init__"


def test_every_folder_has_a_layer_and_no_layer_is_empty() -> None:
    assert {folder_of(name) for name in MODULES} == set(map(folder_of, LAYER_OF)), "a new folder needs a layer"
    assert {name for name in LAYER_OF if "." in name} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_its_layer_and_lower_ones(name: str) -> None:
    imported = imported_modules(MODULES[name])
    assert ("_core" in imported) == (name == "_backend")
    higher = {module for module in imported - {"_core"} if layer_of(module) > layer_of(name)}
    assert higher == set()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_a_folder_imports_only_the_private_ones_beside_it(name: str) -> None:
    inner = {module for module in imported_modules(MODULES[name]) if "." in module}
    own = {module for module in inner if folder_of(module) in {folder_of(name), MAY_LOOK_INTO.get(name)}}
    beside = {module for module in own if folder_of(module) == folder_of(name) and not is_private(module)} - FOR_ALL
    assert beside == set() or is_private(folder_of(name)), "what two modules of a public folder share is a private one"
    assert {module for module in inner - own if is_private(module)} == set(), "it is private to another folder"


def test_no_two_modules_import_each_other() -> None:
    graph = {name: imported_modules(path) - {"_core"} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {error.args[1]}")


def test_every_module_below_the_public_ones_is_private() -> None:
    public = {name.partition(".")[0] for name in MODULES if not name.startswith("_")}
    assert public == {
        "api",
        "cli",
        "commands",
        "destinations",
        "errors",
        "flags",
        "integrations",
        "mlflow_guard",
        "reading",
        "rl",
        "sidecar",
        "system",
        "telemetry",
        "testing",
        "types",
        "viewers",
    }


def test_the_package_s_public_names_are_exactly_what_type_checkers_see() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted([*seen, "__version__"]) == codex_obs.__all__ == sorted(codex_obs.__all__)
    for name, module in seen.items():
        assert module is not None
        assert getattr(codex_obs, name) is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__main__"])
def test_all_names_only_what_exists(name: str) -> None:
    if name.removeprefix("integrations.") in FRAMEWORKS and not is_installed(name):
        pytest.skip("its framework is not installed here: make frameworks tests it")
    if name.startswith("viewers.") and importlib.util.find_spec("starlette") is None:
        pytest.skip("needs the extra view")
    module = importlib.import_module("codex_obs" if name == "__init__" else f"codex_obs.{name}")
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(module, name)] == []


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert (PACKAGE / "_core.pyi").exists()


def test_every_error_derives_from_one() -> None:
    errors = [value for value in vars(codex_obs.errors).values() if isinstance(value, type)]
    assert all(issubclass(error, codex_obs.CodexObsError) for error in errors)
    assert {error.__name__ for error in errors} <= set(codex_obs.__all__)


def test_no_source_file_is_longer_than_500_lines() -> None:
    folders = [ROOT / name for name in ("rust", "fuzz/src", "fuzz/fuzz_targets", "python", "tests", "benches", "docs")]
    files = [file for folder in folders for kind in ("rs", "py", "pyi") for file in folder.glob(f"**/*.{kind}")]
    assert len(files) > 50
    too_long = {str(file.relative_to(ROOT)) for file in files if len(file.read_text().splitlines()) > MAX_LINES}
    assert too_long == set()
