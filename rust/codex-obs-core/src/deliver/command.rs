//! The command that delivers the rest, as a shell reads it.

use super::context::Context;
use super::destination::Destination;
use super::settings::Ranks;
use crate::run::identity::Home;
use crate::words::quote;

/// `codex-ndjson sync` for one run and one destination.
#[derive(Clone, Debug)]
pub struct SyncCommand {
    directory: std::path::PathBuf,
    address: String,
    meant_run: Option<String>,
    /// What comes behind the directory where `run.json` names the remote run, and where it does not.
    known: String,
    unknown: String,
}

impl SyncCommand {
    /// The command for what `destination` gets of the run.
    #[must_use]
    pub fn new(context: &Context, destination: &dyn Destination) -> Self {
        let ranks = if context.settings.ranks == Ranks::All { " --export-ranks all" } else { "" };
        Self {
            directory: context.directory.clone(),
            address: destination.address(),
            meant_run: destination.meant_run().map(str::to_owned),
            known: format!("{}{ranks}", destination.address_arguments()),
            unknown: format!("{}{ranks}", destination.sync_arguments()),
        }
    }

    /// The command as it has to be now: where `run.json` names the remote run, nothing else has to.
    #[must_use]
    pub fn now(&self) -> String {
        let known = Home::of(&self.directory).ok().and_then(|home| home.destinations.get(&self.address).cloned());
        let is_named = known.is_some() && (self.meant_run.is_none() || self.meant_run == known);
        self.with(if is_named { &self.known } else { &self.unknown })
    }

    /// The command without a word about which remote run or experiment, to which such words may be added.
    #[must_use]
    pub fn plain(&self) -> String {
        self.with(&self.known)
    }

    fn with(&self, arguments: &str) -> String {
        format!("codex-ndjson sync {} {arguments}", quote(&self.directory.to_string_lossy()))
    }
}
