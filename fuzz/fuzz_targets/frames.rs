//! Arbitrary bytes as a frame of the journal, and as the choices that make a call.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codex_obs_fuzz::properties::frames::check(bytes));
