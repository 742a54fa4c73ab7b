//! The writer: one thread that drains the journal, encodes rows and appends them to the files.

pub mod control;
pub mod drain;
pub mod feed;
pub mod files;
pub mod keeper;
pub mod loss;
pub mod notes;
pub mod owed;
pub mod packer;
pub mod passed;
pub mod syncer;
pub mod tenure;
pub mod thread;
pub mod warnings;
pub mod watch;
