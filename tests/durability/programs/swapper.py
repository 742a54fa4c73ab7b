"""As another user: puts a link and the folder in each other's place, as fast as it can until it is killed."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def main() -> None:
    folder, elsewhere, user = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    link = folder.with_name("evil")
    link.symlink_to(elsewhere)
    one, other = os.fsencode(folder), os.fsencode(link)
    rename = ctypes.CDLL(None).renameat2
    print("ready", flush=True)
    while True:
        for _ in range(1000):
            rename(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE)
        # Whoever started it is gone.
        if os.getppid() == 1:
            return


main()
