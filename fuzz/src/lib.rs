//! The properties that the targets feed: those of the engine's own tests.

#[path = "../../rust/codex-obs-core/tests/it/properties/mod.rs"]
pub mod properties;
