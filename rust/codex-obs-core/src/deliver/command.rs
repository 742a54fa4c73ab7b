//! The command that delivers the rest, as facts.

use super::context::Context;
use super::destination::Destination;
use super::settings::Ranks;
use crate::problem::Facts;
use crate::run::identity::Home;

/// `codex-ndjson sync` for one run and one destination.
#[derive(Clone, Debug)]
pub struct SyncCommand {
    directory: std::path::PathBuf,
    address: String,
    meant_run: Option<String>,
    /// The destination where `run.json` names the remote run, and where it does not.
    known: Facts,
    unknown: Facts,
}

impl SyncCommand {
    /// The command for what `destination` gets of the run.
    #[must_use]
    pub fn new(context: &Context, destination: &dyn Destination) -> Self {
        let with = |destination: Facts| {
            let directory = ("directory", context.directory.to_string_lossy().into_owned());
            let ranks = (context.settings.ranks == Ranks::All).then(|| ("ranks", "all".to_owned()));
            std::iter::once(directory).chain(destination).chain(ranks).collect()
        };
        Self {
            directory: context.directory.clone(),
            address: destination.address(),
            meant_run: destination.meant_run().map(str::to_owned),
            known: with(destination.address_facts()),
            unknown: with(destination.target_facts()),
        }
    }

    /// The command as it has to be now: where `run.json` names the remote run, nothing else has to.
    #[must_use]
    pub fn now(&self) -> Facts {
        let known = Home::of(&self.directory).ok().and_then(|home| home.destinations.get(&self.address).cloned());
        let is_named = known.is_some() && (self.meant_run.is_none() || self.meant_run == known);
        if is_named { self.known.clone() } else { self.unknown.clone() }
    }

    /// The command without a word about which remote run or experiment, to which such words may be added.
    #[must_use]
    pub fn plain(&self) -> Facts {
        self.known.clone()
    }
}
