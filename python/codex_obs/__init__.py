"""Crash-safe training logs, written through Rust."""
