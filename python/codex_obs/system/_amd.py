"""AMD's GPUs, by what the kernel's driver shows in sysfs.

Source: the kernel's Documentation/gpu/amdgpu (``gpu_busy_percent``, ``mem_info_vram_*``, hwmon).
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from codex_obs.system._gpus import FIELDS, Gpus
from codex_obs.system._isolation import RETRY_S

if TYPE_CHECKING:
    from pathlib import Path

_CARD: Final = re.compile(r"card[0-9]+")
_VENDOR: Final = "0x1002"
_THOUSAND: Final = 1000
_MILLION: Final = 1_000_000


class Amd:
    """The cards of this machine.

    Args:
        root: Where ``sys`` is.
        retry_s: After how long it is looked for cards again.
    """

    def __init__(self, root: Path, retry_s: float = RETRY_S) -> None:
        self._folder = root / "sys/class/drm"
        self._retry_s = retry_s
        self._cards: list[Path] = []
        self._next_s = 0.0

    def __call__(self) -> Gpus | None:
        """Give every GPU; None where there is none."""
        if time.monotonic() >= self._next_s:
            self._cards = self._found()
            self._next_s = time.monotonic() + self._retry_s
        if not self._cards:
            return None
        gpus = Gpus()
        for index, device in enumerate(self._cards):
            values = dict.fromkeys(FIELDS) | _values(device) | {"index": index}
            gpus.found.append(values)
            if not device.exists():
                gpus.errors.append(f"gpu {index}: {device.parent.name} is gone")
                continue
            missing = [name for name in ("util", "mem_used", "mem_total", "temp_c", "power_w") if values[name] is None]
            if missing:
                gpus.notes.append(f"gpu {index}: not supported: {', '.join(missing)}")
        return gpus

    def _found(self) -> list[Path]:
        with suppress(OSError):
            names = sorted((path.name for path in self._folder.iterdir() if _CARD.fullmatch(path.name)), key=_number)
            devices = [self._folder / name / "device" for name in names]
            return [device for device in devices if _text(device / "vendor") == _VENDOR]
        return []


def _number(name: str) -> int:
    return int(name.removeprefix("card"))


def _values(device: Path) -> dict[str, object]:
    sensors = next(iter(sorted(device.glob("hwmon/hwmon*"))), device)
    power = _integer(sensors / "power1_average")
    if power is None:
        power = _integer(sensors / "power1_input")
    temperature = _integer(sensors / "temp1_input")
    return {
        "uuid": _text(device / "unique_id"),
        "name": _text(device / "product_name"),
        "util": _integer(device / "gpu_busy_percent"),
        "mem_used": _integer(device / "mem_info_vram_used"),
        "mem_total": _integer(device / "mem_info_vram_total"),
        "temp_c": None if temperature is None else temperature / _THOUSAND,
        "power_w": None if power is None else power / _MILLION,
    }


def _text(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip() or None
    return None


def _integer(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None
