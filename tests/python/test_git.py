"""Where a repository stands, held against what git itself says."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from codex_obs._git import commit_and_branch

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    identity = [
        "-c",
        "user.name=n",
        "-c",
        "user.email=e",
        "-c",
        "init.defaultBranch=trunk",
        "-c",
        "protocol.file.allow=always",
    ]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return folder


def expected(folder: Path) -> dict[str, str]:
    branch = git(folder, "branch", "--show-current")
    return {"commit": git(folder, "rev-parse", "HEAD")} | ({"branch": branch} if branch else {})


def test_a_branch_loose_and_packed_and_below(repository: Path) -> None:
    below = repository / "src" / "deep"
    below.mkdir(parents=True)
    assert commit_and_branch(repository) == commit_and_branch(below) == expected(repository)
    git(repository, "checkout", "-q", "-b", "feature/x")
    assert commit_and_branch(repository)["branch"] == "feature/x"
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/feature/x").exists()
    assert commit_and_branch(below) == expected(repository)
    git(repository, "commit", "-q", "--allow-empty", "-m", "two")
    assert commit_and_branch(below) == expected(repository)


def test_a_detached_head_a_work_tree_and_a_submodule(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "three")
    assert commit_and_branch(tmp_path / "tree") == expected(tmp_path / "tree")
    git(repository, "checkout", "-q", "--detach")
    assert commit_and_branch(repository) == expected(repository)
    assert "branch" not in commit_and_branch(repository)
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "submodule", "--quiet", "add", str(repository), "inner")
    assert commit_and_branch(outer / "inner") == expected(outer / "inner")


def test_no_repository_a_new_one_and_a_broken_one(tmp_path: Path) -> None:
    assert commit_and_branch(tmp_path) == {}
    git(tmp_path, "init", "-q")
    assert commit_and_branch(tmp_path) == {"branch": "trunk"}
    (tmp_path / ".git/HEAD").write_bytes(b"ref: refs/heads/../../../etc/passwd\n")
    assert "commit" not in commit_and_branch(tmp_path)
    (tmp_path / ".git/HEAD").write_bytes(b"\xff\x00 no head")
    assert commit_and_branch(tmp_path) == {}
    shutil.rmtree(tmp_path / ".git")
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    assert commit_and_branch(tmp_path) == {}
