//! How far an earlier delivery has come, as far as that is known without asking the destination.

use super::courier::{Context, known_progress};
use super::cursor::Progress;
use super::destination::{Destination, Target};
use crate::error::Result;

/// The progress of an earlier delivery to the run that `destination` delivers to.
///
/// # Errors
/// If the run directory cannot be read.
pub fn earlier_progress(context: &Context, destination: &dyn Destination) -> Result<Progress> {
    let named = match (destination.remote_run(), destination.target()) {
        (None, Target::New) => return Ok(Progress::default()),
        (None, Target::Named(id)) => Some(id),
        (remote_run, _) => remote_run,
    };
    known_progress(context, &destination.address(), named)
}
