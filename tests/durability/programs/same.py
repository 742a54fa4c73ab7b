"""Logs the same row again and again until it is killed, and counts on from where its tally stands."""

from __future__ import annotations

import json
import sys

import codex_obs
from faults.tally import ACCEPTED, Tally


def main() -> None:
    directory, tally_path, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    tally = Tally(tally_path)
    with codex_obs.init(directory, **settings) as run:
        while True:
            run.log({"loss": 1.0}, step=0)
            tally[ACCEPTED] += 1


main()
