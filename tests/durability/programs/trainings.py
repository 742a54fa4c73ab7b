"""Trainings that have one name from their launcher and begin at once; says which directory each of them got."""

from __future__ import annotations

import json
import os
import sys

import codex_obs


def main() -> None:
    folder, trainings = sys.argv[1], int(sys.argv[2])
    os.chdir(folder)
    os.environ["TORCHELASTIC_RUN_ID"] = "exp"
    gate, opening = os.pipe()
    words, saying = os.pipe()
    over, ending = os.pipe()
    children = []
    for _ in range(trainings):
        child = os.fork()
        if child == 0:
            os.close(opening)
            os.close(ending)
            os.read(gate, 1)
            run = codex_obs.init()
            run.log({"m": 1.0}, step=0)
            os.write(saying, f"{json.dumps(str(run.path))}\n".encode())
            os.close(saying)
            # Alive until all others have their places too.
            os.read(over, 1)
            run.close()
            os._exit(0)
        children.append(child)
    for descriptor in (saying, gate, opening):
        os.close(descriptor)
    with os.fdopen(words) as heard:
        print(json.dumps([json.loads(line) for line in heard]))
    os.close(ending)
    for child in children:
        os.waitpid(child, 0)


main()
