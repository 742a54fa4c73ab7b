"""Rules of the house that no linter knows: layers, public names, length of files."""

from __future__ import annotations

import ast
import importlib
import importlib.util
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
# Lowest first. A module imports from lower layers and from its own, never from higher ones.
LAYERS = (
    ("errors", "types", "_mistakes", "_visible", "rl"),
    ("_folding", "_structure", "_setting_kinds", "_setting_table", "_names", "_derived", "_git", "_uri", "_variables"),
    ("_rank", "_launcher", "_beginning"),
    ("_config",),
    ("_backend",),
    ("_console", "_open_runs", "_exit", "_export", "_remarks", "_job", "_place"),
    ("_catalog", "_run", "reading"),
    ("_opening", "api", "testing"),
    ("integrations", "integrations._needed", "integrations._splits", "integrations._target"),
    tuple(f"integrations.{name}" for name in FRAMEWORKS),
    ("__init__",),
    ("_grid", "_guess", "_input", "_moments", "_output", "_plugins", "_progress", "_rl_check", "_selection", "_table"),
    ("_checkup", "_command", "_comparison", "_inspection", "_rows_out", "_sync", "_sync_words", "demo"),
    (
        "commands",
        "commands.check",
        "commands.compare",
        "commands.demo",
        "commands.doctor",
        "commands.export",
        "commands.inspect",
        "commands.plugins",
        "commands.recover",
        "commands.runs",
        "commands.summarize",
    ),
    ("cli",),
    ("__main__",),
)
LAYER_OF = {module: number for number, modules in enumerate(LAYERS) for module in modules}
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


def is_installed(integration: str) -> bool:
    return importlib.util.find_spec(integration.removeprefix("integrations.")) is not None


def _module(name: str) -> str:
    return name.removeprefix("codex_obs").removeprefix(".") or "__init__"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_its_layer_and_lower_ones(name: str) -> None:
    assert name in LAYER_OF, "a new module needs a layer"
    imported = imported_modules(MODULES[name])
    assert ("_core" in imported) == (name == "_backend")
    higher = {module for module in imported - {"_core"} if LAYER_OF[module] > LAYER_OF[name]}
    assert higher == set()


def test_no_layer_has_a_cycle() -> None:
    graph = {name: imported_modules(path) - {"_core"} for name, path in MODULES.items()}
    while graph:
        free = {module for module, imported in graph.items() if not imported & graph.keys()}
        assert free, f"these import each other: {sorted(graph)}"
        graph = {module: imported for module, imported in graph.items() if module not in free}


def test_every_module_below_the_public_ones_is_private() -> None:
    public = {name.partition(".")[0] for name in MODULES if not name.startswith("_")}
    assert public == {"api", "cli", "commands", "demo", "errors", "integrations", "reading", "rl", "testing", "types"}


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
