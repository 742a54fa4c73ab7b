"""The commands, one a file. `codex_obs.cli` makes one application of them."""
