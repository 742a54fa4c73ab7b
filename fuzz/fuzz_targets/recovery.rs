//! Arbitrary bytes as the life of a writer that dies, and as what is done to its files then.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codex_obs_fuzz::properties::recovery::check(bytes));
