"""Ranks of one job that open one fresh directory at once; says which run each of them found, or what it raised."""

from __future__ import annotations

import json
import os
import sys

import codex_obs


def main() -> None:
    directory, ranks = sys.argv[1], int(sys.argv[2])
    gate, opening = os.pipe()
    words, saying = os.pipe()
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            os.close(opening)
            os.read(gate, 1)
            os.write(saying, f"{json.dumps(be(directory, rank))}\n".encode())
            os._exit(0)
        children.append(child)
    os.close(saying)
    os.close(gate)
    os.close(opening)
    with os.fdopen(words) as heard:
        print(json.dumps([json.loads(line) for line in heard]))
    for child in children:
        os.waitpid(child, 0)


def be(directory: str, rank: int) -> dict[str, str]:
    try:
        with codex_obs.init(directory, rank=rank) as run:
            run.log({"m": 1.0}, step=rank)
            found = run.run_id
    except codex_obs.CodexObsError as error:
        return {"raised": f"{type(error).__name__}: {error}"}
    return {"run_id": found}


main()
