"""Deliver a run to W&B by its own client, until the run has ended, and print what came of each stream.

Usage: deliver_online.py RUN PATIENCE_S. Progress ends after so many seconds in which the server took nothing.
"""

import json
import sys
import time

from codex_obs import _backend, _export
from codex_obs._settings.settings import Settings


class Watch:
    """Gives up once nothing has moved for too long."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self.seen: object = None
        self.moved_s = time.monotonic()

    def __call__(self, progress: _backend.SyncProgress) -> bool:
        seen = (progress.delivered, progress.bytes_left, progress.waiting is None)
        if seen != self.seen or (progress.waiting is None and progress.bytes_left == 0):
            self.seen, self.moved_s = seen, time.monotonic()
        return time.monotonic() - self.moved_s < self.patience_s


def main() -> None:
    settings = Settings(wandb="online", export_ranks="all", export_interval_s=0.05)
    destination = _export.wandb_online(settings)
    found = _backend.sync(sys.argv[1], destination, follow=True, progress=Watch(float(sys.argv[2])))
    print(json.dumps([[each.stream, each.done, each.problem, each.status, each.page] for each in found]))


if __name__ == "__main__":
    main()
