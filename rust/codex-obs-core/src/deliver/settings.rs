//! What an exporter is set up with.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::destination::Destination;
use crate::error::Result;
use crate::limits;
use crate::paths::Stream;

/// Which streams of a run are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ranks {
    /// The main one.
    #[default]
    Main,
    /// Every one; the names of the others begin with `<stream>/`, such as `rank-1/`.
    All,
}

/// The run whose log a destination gets.
#[derive(Clone, Copy, Debug)]
pub struct RunFolder<'a> {
    /// The run directory.
    pub directory: &'a Path,
    /// Mode of new files.
    pub file_mode: u32,
}

type Connect = dyn Fn(&RunFolder<'_>) -> Result<Box<dyn Destination>> + Send + Sync;

/// Makes a destination for a run. It parses and checks what it was given and touches no network.
#[derive(Clone)]
pub struct Connector(Arc<Connect>);

impl Connector {
    /// A connector from a function.
    #[must_use]
    pub fn new(connect: impl Fn(&RunFolder<'_>) -> Result<Box<dyn Destination>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(connect))
    }

    /// A destination for one run.
    ///
    /// # Errors
    /// If the set-up cannot work.
    pub fn connect(&self, folder: &RunFolder<'_>) -> Result<Box<dyn Destination>> {
        (self.0)(folder)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it holds may be secret.
        f.write_str("Connector")
    }
}

/// Settings of an exporter.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// Where points go.
    pub connector: Connector,
    /// Which streams are exported.
    pub ranks: Ranks,
    /// Longest time that a point waits for others to go with it.
    pub flush_interval: Duration,
    /// So many points do not wait for others.
    pub flush_points: usize,
}

impl DeliverySettings {
    /// The defaults for a destination.
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self {
            connector,
            ranks: Ranks::Main,
            flush_interval: Duration::from_secs_f64(limits::DEFAULT_EXPORT_INTERVAL_S),
            flush_points: limits::DEFAULT_EXPORT_POINTS,
        }
    }

    /// Whether a stream is exported.
    #[must_use]
    pub fn includes(&self, stream: &Stream) -> bool {
        self.ranks == Ranks::All || stream.is_main()
    }
}
