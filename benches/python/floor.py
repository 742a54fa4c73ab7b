"""Builds the floor, `floor.c`, where there is a C compiler."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

SOURCE = Path(__file__).with_name("floor.c")


def build(folder: Path) -> ModuleType | None:
    """Compile and import the floor; None without a C compiler or without Python's headers."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    include = Path(sysconfig.get_path("include"))
    if shutil.which(compiler) is None or not (include / "Python.h").exists():
        return None
    library = folder / f"floor_module{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", f"-I{include}", str(SOURCE), "-o", str(library)]
    subprocess.run(command, check=True)
    spec = importlib.util.spec_from_file_location("floor_module", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
