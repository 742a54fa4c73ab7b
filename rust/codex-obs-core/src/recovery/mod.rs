//! Bringing back what writers that died left in their journals: of one [`stream`], or of all of a [`run`], by [`replay`]ing frames;
//! for readers that may not write, as [`pending`] lines.

pub mod belief;
pub mod pending;
pub mod replay;
pub mod run;
pub mod space;
pub mod stream;
pub mod unsynced;
