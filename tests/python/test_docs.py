"""What README and the documentation show is true: examples run, output is as printed, links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import codex_obs

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *(REPOSITORY / "docs").rglob("*.md")],
    key=lambda page: page.relative_to(REPOSITORY),
)

_FENCE = re.compile(
    r"^```(?P<language>[a-z]+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\]\((?!https?:)(?P<target>[^)#\s]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"`(?P<path>(?:tests|benches|docs|python|rust)/[\w./-]+)`")

# What differs from run to run.
_VARYING = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"manifest-[0-9a-f]{32}"), "manifest-<id>"),
)
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")


@dataclass
class Block:
    language: str
    title: str | None
    text: str


def blocks_of(page: Path) -> list[Block]:
    return [Block(match["language"], match["title"], match["text"]) for match in _FENCE.finditer(page.read_text())]


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def without_ids(text: str) -> str:
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def without_times(text: str) -> str:
    return _TIMESTAMP.sub("<time>", without_ids(text))


def run_block(block: Block, page: Path, namespace: dict[str, object]) -> None:
    if block.language == "python":
        exec(compile(block.text, name_of(page), "exec"), namespace)
    elif block.language == "json" and block.title is not None:
        assert without_times(Path(block.title).read_text()) == without_times(block.text)
    elif block.language == "console":
        for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, expected = step.split("\n", 1)
            assert without_times(output_of(command)) == without_times(expected)


def output_of(command: str) -> str:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=name_of)
def test_examples_run_and_print_what_the_page_shows(
    page: Path, working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        run_block(block, page, namespace)
    has_runs = any("init(" in block.text for block in blocks_of(page) if block.language == "python")
    assert list(working_directory.iterdir()) == [working_directory / "runs"] or not has_runs


@pytest.mark.parametrize("file", ["metrics.ndjson", "metrics_manifest.ndjson"])
def test_the_worked_example_of_the_file_format_is_what_is_written(
    file: str, working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    page = REPOSITORY / "docs/pages/file-format.md"
    blocks = blocks_of(page)
    run_block(blocks[0], page, {})
    shown = {block.title: block.text for block in blocks}[f"runs/example/{file}"]
    assert without_ids((working_directory / "runs/example" / file).read_text()) == without_ids(shown)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_paths_lead_to_files(page: Path) -> None:
    text = page.read_text()
    linked = {page.parent / match["target"] for match in _LINK.finditer(text)}
    named = {REPOSITORY / match["path"] for match in _PATH.finditer(text)}
    assert [name_of(path.resolve()) for path in sorted(linked | named) if not path.exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (REPOSITORY / "mkdocs.yml").read_text()
    pages = [page.relative_to(REPOSITORY / "docs") for page in PAGES if page.is_relative_to(REPOSITORY / "docs")]
    assert [str(page) for page in pages if f" {page}\n" not in navigation] == []


def test_the_page_of_environment_variables_has_every_one_of_them() -> None:
    spec = spec_from_file_location("environment_table", REPOSITORY / "docs/environment_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.on_page_markdown((REPOSITORY / "docs/pages/environment.md").read_text())
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == [f"| `{variable.name}`" for variable in codex_obs.env_vars()]
    assert all(len(row) == 4 for row in rows)
