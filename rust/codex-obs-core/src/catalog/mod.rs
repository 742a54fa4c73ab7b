//! A folder of runs as one table: what each run is called, how it stands, and how its metrics went.
//!
//! Each run is looked at by one thread. What was found out about a run that nobody writes is kept beside it, see [`cache`].

mod cache;
mod config;
mod entry;
mod extremes;
mod fingerprint;
mod folders;
mod look;

use std::path::{Path, PathBuf};

pub use entry::{Entry, Status};
pub use extremes::{Extremes, MetricName, Point};

use crate::clock::Clock;
use crate::error::{Error, Result};

/// How much of the runs is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// How each metric went, and all else.
    Metrics,
    /// All but that.
    Facts,
    /// What can be had without reading the rows of runs that are written now: those have to be read each time.
    FactsBesideLiveRows,
}

/// The runs of a folder.
#[derive(Debug, Default)]
pub struct Catalog {
    /// In order of their paths.
    pub entries: Vec<Entry>,
    /// Folders that could not be looked into, and why.
    pub unread: Vec<(PathBuf, String)>,
}

impl Catalog {
    /// The runs in `folder` and below it, itself included. `go_on` is asked now and then.
    ///
    /// # Errors
    /// If there is no such folder, it cannot be read, or `go_on` says to stop.
    pub fn of(folder: &Path, wanted: Wanted, clock: &Clock, go_on: &mut dyn FnMut() -> bool) -> Result<Self> {
        if let Err(error) = std::fs::read_dir(folder) {
            return Err(match error.kind() {
                std::io::ErrorKind::NotFound => Error::no_log(format!("{} does not exist", folder.display())),
                std::io::ErrorKind::NotADirectory => {
                    Error::no_log(format!("{} is a file: give a folder of runs", folder.display()))
                }
                _ => Error::io("list", folder, error),
            });
        }
        folders::visit(folder, wanted, clock, go_on)
    }
}

#[cfg(test)]
mod tests;
