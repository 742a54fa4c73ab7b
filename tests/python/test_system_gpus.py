"""GPUs: a library that stands in for NVIDIA's, and sysfs as AMD's driver fills it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_obs.system import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GIB = 1 << 30
DEADLINE_S = 30.0


class Fake:
    """The library that stands in for the driver's, and what it is told."""

    def __init__(self, settings: Path, root: Path) -> None:
        self.settings = settings
        self.root = root
        (root / "dev").mkdir(parents=True)
        (root / "dev/nvidiactl").touch()

    def tell(self, **words: int) -> None:
        text = "".join(f"{word} {number}\n" for word, number in words.items())
        draft = self.settings.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self.settings)

    def sampler(self, **limits: float) -> Sampler:
        given = {"patience_s": 10.0, "give_up_s": 60.0, "retry_s": 0.0} | limits
        return Sampler(
            root=self.root, patience_s=given["patience_s"], give_up_s=given["give_up_s"], retry_s=given["retry_s"]
        )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    path = tmp_path_factory.mktemp("nvml") / "libfake-nvml.so"
    source = Path(__file__).parents[1] / "support" / "fake_nvml.c"
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o", str(path), str(source)]
    subprocess.run(command, check=True, timeout=120)
    return path


@pytest.fixture
def fake(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    pynvml = pytest.importorskip("pynvml")
    monkeypatch.setattr(pynvml, "CDLL", lambda _name: ctypes.CDLL(str(library)))
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setenv("FAKE_NVML", str(tmp_path / "settings"))
    stand_in = Fake(tmp_path / "settings", tmp_path / "root")
    stand_in.tell()
    yield stand_in
    stand_in.tell()  # so that nothing hangs when the interpreter ends


def gpu(index: int, **other: object) -> dict[str, object]:
    return {
        "index": index, "uuid": f"GPU-{index:08d}", "name": f"Fake GPU {index}", "util": 40 + 10 * index,
        "mem_used": (10 + index) * GIB, "mem_total": 80 * GIB, "temp_c": 50 + index, "power_w": 300.5 + index,
        "processes": [],
    } | other  # fmt: skip


RUNNING = [{"pid": 1234, "mem_used": 3 * GIB}, {"pid": 5678, "mem_used": None}]


def test_every_field_is_the_driver_s_and_moves_with_it(fake: Fake) -> None:
    sampler = fake.sampler()
    sample = sampler.sample()
    assert sample["gpus"] == [gpu(0, processes=RUNNING), gpu(1)]
    assert (sample["gpu_count"], sample["gpu_util_mean"], sample["errors"]) == (2, 45.0, [])
    assert sampler.dependencies["nvml_available"] is True
    fake.tell(add=7)
    (first, _) = rows(sampler.sample()["gpus"])
    assert (first["util"], first["mem_used"], first["temp_c"], first["power_w"]) == (47, 17 * GIB, 57, 307.5)
    sampler.close()


def rows(gpus: object) -> list[dict[str, Any]]:
    assert isinstance(gpus, list)
    return gpus


def test_what_mig_hides_is_none_with_a_word_and_is_no_trouble(fake: Fake) -> None:
    fake.tell(mig=1, count=1)
    sampler = fake.sampler()
    sample = sampler.sample()
    assert sample["gpus"] == [gpu(0, util=None, processes=RUNNING)]
    assert (sample["gpu_util_mean"], sample["errors"]) == (None, ["nvml: gpu 0: not supported: util"])
    assert [(change.status, change.reason) for change in sampler.changes()] == [("enabled", "system:started")]
    sampler.close()


def test_an_older_driver_gives_its_memory_too(fake: Fake) -> None:
    fake.tell(old=1, count=1)
    sampler = fake.sampler()
    (only,) = rows(sampler.sample()["gpus"])
    assert (only["mem_used"], only["mem_total"]) == (11 * GIB, 80 * GIB)
    sampler.close()


def test_a_lost_gpu_costs_its_own_values_and_is_on_record_until_it_is_back(fake: Fake) -> None:
    sampler = fake.sampler()
    sampler.sample()
    assert [change.reason for change in sampler.changes()] == ["system:started"]
    fake.tell(lost=1)
    sample = sampler.sample()
    nothing = dict.fromkeys(("util", "mem_used", "mem_total", "temp_c", "power_w", "processes"))
    assert sample["gpus"] == [gpu(0, processes=RUNNING), gpu(1, **nothing)]
    assert (sample["gpu_util_mean"], sample["errors"]) == (40.0, ["nvml: gpu 1: GPU is lost"])
    (change,) = sampler.changes()
    assert (change.status, change.reason, change.extra["error"]) == ("degraded", "system:nvml", "gpu 1: GPU is lost")
    assert sampler.sample()["errors"] == sample["errors"]
    assert sampler.changes() == [], "what is known is no news"
    fake.tell()
    assert sampler.sample()["gpus"] == [gpu(0, processes=RUNNING), gpu(1)]
    (change,) = sampler.changes()
    assert (change.status, change.reason) == ("enabled", "system:nvml")
    assert change.extra["dependencies"] == {"psutil_available": True, "nvml_available": True}
    sampler.close()


@pytest.mark.parametrize(
    ("code", "words"), [(9, "Driver Not Loaded"), (18, "RM has detected an NVML/RM version mismatch.")]
)
def test_a_driver_that_does_not_start_is_said_and_tried_again(code: int, words: str, fake: Fake) -> None:
    fake.tell(init=code)
    sampler = fake.sampler()
    sample = sampler.sample()
    assert (sample["gpus"], sample["gpu_count"], sample["gpu_util_mean"]) == (None, None, None)
    assert sample["errors"] == [f"nvml: {words}"]
    assert sampler.dependencies["nvml_available"] is False
    assert [(change.status, change.reason) for change in sampler.changes()] == [
        ("enabled", "system:started"),
        ("degraded", "system:nvml"),
    ]
    fake.tell()
    assert sampler.sample()["gpu_count"] == 2
    assert [(change.status, change.reason) for change in sampler.changes()] == [("enabled", "system:nvml")]
    sampler.close()


def test_a_call_that_hangs_is_waited_for_once_given_up_and_tried_again(fake: Fake) -> None:
    fake.tell(hang=1)
    sampler = fake.sampler(patience_s=0.05, give_up_s=0.2)
    sample = sampler.sample()
    assert (sample["gpus"], sample["gpu_count"]) == (None, None)
    assert str(sample["errors"]).startswith("['nvml: no answer for 0.")
    assert sample["cpu_count"] == os.cpu_count(), "everything else is sampled"
    assert sampler.changes()[-1].reason == "system:nvml"
    # Each thread that hangs is left behind, and the next one tries again; not more than a few hang at once.
    sampled(sampler, lambda sample: "given up" in str(sample["errors"]))
    fake.tell()
    sample = sampled(sampler, lambda sample: sample["gpu_count"] == 2)
    assert sample["gpus"] == [gpu(0, processes=RUNNING), gpu(1)]
    assert [(change.status, change.reason) for change in sampler.changes()] == [("enabled", "system:nvml")]
    sampler.close()


def sampled(sampler: Sampler, condition: Callable[[dict[str, object]], bool]) -> dict[str, object]:
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        sample = sampler.sample()
        if condition(sample):
            return sample
        time.sleep(0.01)
    pytest.fail(f"the last sample was {sample}")


def test_a_slow_answer_comes_with_the_next_sample_and_each_one_after_it(fake: Fake) -> None:
    fake.tell(slow=20, count=1)
    sampler = fake.sampler(patience_s=0.001)
    assert sampler.sample()["gpus"] is None
    for _ in range(3):
        sample = sampled(sampler, lambda sample: sample["gpu_count"] == 1)
        assert sample["gpus"] == [gpu(0, processes=RUNNING)]
    sampler.close()


def test_no_driver_and_no_sign_of_one_is_no_gpu_and_no_trouble(tmp_path: Path) -> None:
    sampler = Sampler(root=tmp_path, patience_s=10)
    sample = sampler.sample()
    if sampler.dependencies["nvml_available"]:
        pytest.skip("there is a driver")
    assert (sample["gpu_count"], sample["gpus"], sample["gpu_util_mean"]) == (0, [], None)
    assert "nvml" not in str(sample["errors"])
    sampler.close()


AMD = {
    "vendor": "0x1002\n", "unique_id": "a1b2\n", "product_name": "Radeon Test\n", "gpu_busy_percent": "37\n",
    "mem_info_vram_used": "1000\n", "mem_info_vram_total": "4000\n", "hwmon/hwmon3/temp1_input": "61000\n",
    "hwmon/hwmon3/power1_average": "95500000\n",
}  # fmt: skip


def cards(root: Path, **devices: dict[str, str]) -> None:
    for name, files in devices.items():
        for file, text in files.items():
            path = root / "sys/class/drm" / name / "device" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (root / "sys/class/drm/card0-DP-1").mkdir(parents=True)


def test_amd_s_cards_are_read_from_sysfs(tmp_path: Path) -> None:
    bare = {"vendor": "0x1002\n", "mem_info_vram_total": "8000\n", "gpu_busy_percent": "busy\n"}
    cards(tmp_path, card0={"vendor": "0x8086\n"}, card2=AMD, card10=bare)
    sampler = Sampler(root=tmp_path, patience_s=10)
    sample = sampler.sample()
    nothing = dict.fromkeys(("uuid", "name", "util", "mem_used", "temp_c", "power_w", "processes"))
    assert sample["gpus"] == [
        {
            "index": 0, "uuid": "a1b2", "name": "Radeon Test", "util": 37, "mem_used": 1000, "mem_total": 4000,
            "temp_c": 61.0, "power_w": 95.5, "processes": None,
        },
        {"index": 1, "mem_total": 8000} | nothing,
    ]  # fmt: skip
    assert (sample["gpu_count"], sample["gpu_util_mean"]) == (2, 37.0)
    assert sample["errors"] == ["amd: gpu 1: not supported: util, mem_used, temp_c, power_w"]
    shutil.rmtree(tmp_path / "sys/class/drm/card2")
    assert "amd: gpu 0: card2 is gone" in str(sampler.sample()["errors"])
    sampler.close()


def test_both_makers_cards_stand_in_one_list(fake: Fake) -> None:
    fake.tell(count=1)
    cards(fake.root, card0=AMD)
    sampler = fake.sampler()
    sample = sampler.sample()
    assert [(card["index"], card["name"]) for card in rows(sample["gpus"])] == [(0, "Fake GPU 0"), (1, "Radeon Test")]
    assert sample["gpu_util_mean"] == 38.5
    sampler.close()
