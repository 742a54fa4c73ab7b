//! Arbitrary bytes as a log file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codex_obs_fuzz::properties::lines::check(bytes));
