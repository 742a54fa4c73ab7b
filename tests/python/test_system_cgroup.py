"""The container's limits and what is used of them: fake trees of every kind, and a real limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from codex_obs.system._cgroup import Container

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1_MOUNTS = (
    "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)
NO_LIMIT = "9223372036854771712\n"


def tree(root: Path, files: dict[str, str]) -> Container:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Container(root)


def facts(cpu: float | None, limit: int | None, used: int | None) -> dict[str, object]:
    return {"cpu_limit": cpu, "memory_limit": limit, "memory_used": used}


def test_version_2_seen_from_inside_of_its_namespace(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/memory.max": "2147483648\n",
            "sys/fs/cgroup/memory.current": "1000000000\n",
            "sys/fs/cgroup/memory.stat": "anon 5\ninactive_file 300000000\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
        },
    )
    assert found.sample() == facts(1.5, 2147483648, 700000000)


def test_the_tightest_limit_above_counts_with_what_is_used_of_it(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/kube/pod"
    found = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kube/pod/c\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/kube/memory.max": "8589934592\n",
            f"{group}/memory.max": "1073741824\n",
            f"{group}/memory.current": "900000000\n",
            f"{group}/memory.stat": "inactive_file 1\n",
            f"{group}/cpu.max": "50000 100000\n",
            f"{group}/c/memory.max": "max\n",
            f"{group}/c/memory.current": "5\n",
            f"{group}/c/cpu.max": "max 100000\n",
        },
    )
    assert found.sample() == facts(0.5, 1073741824, 899999999), "the rest is used by others of the pod"


def test_without_a_limit_it_is_what_the_own_group_uses(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user/job\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/user/job/memory.max": "max\n",
            "sys/fs/cgroup/user/job/memory.current": "77\n",
            "sys/fs/cgroup/user/memory.current": "5000\n",
        },
    )
    assert found.sample() == facts(None, None, 77)


@pytest.mark.parametrize("group", ["/../../host/x", "/not/mounted/here"])
def test_a_group_outside_of_what_is_mounted_is_seen_as_its_top(group: str, tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        {
            "proc/self/cgroup": f"0::{group}\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/memory.max": "700\n",
            "sys/fs/cgroup/memory.current": "50\n",
            "sys/fs/cgroup/host/x/memory.max": "1\n",
        },
    )
    assert found.sample() == facts(None, 700, 50)


def test_version_1_of_a_container_with_its_own_group_mounted(tmp_path: Path) -> None:
    mounts = V1_MOUNTS.replace("0:27 / ", "0:27 /docker/abc ").replace("0:28 / ", "0:28 /docker/abc ")
    cpu = "sys/fs/cgroup/cpu,cpuacct"
    found = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n",
            "proc/self/mountinfo": mounts,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "100\n",
            "sys/fs/cgroup/memory/memory.stat": "cache 5\ntotal_inactive_file 40\n",
            f"{cpu}/cpu.cfs_quota_us": "250000\n",
            f"{cpu}/cpu.cfs_period_us": "100000\n",
        },
    )
    assert found.sample() == facts(2.5, 536870912, 60)


def test_hybrid_reads_version_1_where_version_2_has_no_controllers(tmp_path: Path) -> None:
    memory = "sys/fs/cgroup/memory"
    found = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/job/1\n1:cpu,cpuacct:/job\n0::/\n",
            "proc/self/mountinfo": V1_MOUNTS + "33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/unified/cgroup.procs": "1\n",
            f"{memory}/memory.limit_in_bytes": NO_LIMIT,
            f"{memory}/memory.usage_in_bytes": "9000\n",
            f"{memory}/job/memory.limit_in_bytes": NO_LIMIT,
            f"{memory}/job/1/memory.limit_in_bytes": NO_LIMIT,
            f"{memory}/job/1/memory.usage_in_bytes": "4096\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        },
    )
    assert found.sample() == facts(None, None, 4096)


def test_a_mount_with_a_blank_in_its_name_is_found(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "30 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n",
            "my groups/memory.max": "10\n",
            "my groups/memory.current": "3\n",
        },
    )
    assert found.sample() == facts(None, 10, 3)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "", "proc/self/mountinfo": "nonsense\n30 23 0:26 / - cgroup\n"},
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/memory.max": "many\n",
            "sys/fs/cgroup/memory.current": "-5\n",
            "sys/fs/cgroup/cpu.max": "1 0 0\n",
        },
    ],
)
def test_what_cannot_be_read_is_none(files: dict[str, str], tmp_path: Path) -> None:
    assert tree(tmp_path, files).sample() == facts(None, None, None)


def test_what_is_used_is_read_at_every_sample(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT, "sys/fs/cgroup/memory.current": "5\n"},
    )
    assert found.sample()["memory_used"] == 5
    (tmp_path / "sys/fs/cgroup/memory.current").write_text("6\n")
    assert found.sample()["memory_used"] == 6
    (tmp_path / "sys/fs/cgroup/memory.current").unlink()
    assert found.sample()["memory_used"] is None


LIMIT = 256 << 20
PROGRAM = """
import json, os, sys
with open(os.path.join(sys.argv[1], "cgroup.procs"), "w") as file:
    file.write(str(os.getpid()))
from codex_obs.system import Sampler
held = bytearray(64 << 20)
held[::4096] = bytes(len(held[::4096]))
held[::4096] = b"x" * len(held[::4096])
print(json.dumps(Sampler().sample()["cgroup"]))
"""


@pytest.mark.root
def test_a_real_limit_is_the_container_s_and_not_the_machine_s() -> None:
    group = make_group()
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(group)], capture_output=True, text=True, check=True, timeout=60
        )
        found = json.loads(done.stdout)
        assert found["memory_limit"] == LIMIT
        assert 64 << 20 <= found["memory_used"] <= LIMIT
    finally:
        group.rmdir()


def make_group() -> Path:
    """Make a group of version 1 or 2 with a limit of memory below the one that this process is in."""
    for base, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(base) / f"codex-obs-test-{uuid.uuid4().hex[:8]}"
        if not (Path(base) / "cgroup.procs").exists() or not os.access(base, os.W_OK):
            continue
        with suppress(OSError):
            group.mkdir()
            try:
                (group / limit).write_text(str(LIMIT))
            except OSError:
                group.rmdir()
                continue
            return group
    pytest.skip("no group of processes can be made here")
