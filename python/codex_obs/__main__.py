"""``python -m codex_obs``: the same commands as ``codex-obs``."""

from codex_obs.cli import main

main()
