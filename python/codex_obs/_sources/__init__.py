"""Runs of other tools, read from their files and servers without their packages: what ``codex-obs import`` takes."""
