//! The result of writing to a file, as a delivery's answer.

use crate::deliver::destination::Answer;
use crate::error::Result;
use crate::limits::EXPORT_SHORTEST_BACKOFF;

/// Points of one batch. Each is followed by a sync of the file and two notes of places, which is little beside so many.
pub const MOST_POINTS: usize = 16_384;

/// Later, unless it was done or somebody has to do something about it first.
#[must_use]
pub fn answer(outcome: Result<()>) -> Answer {
    match outcome {
        Ok(()) => Answer::TAKEN,
        Err(error) if error.is_conflict() || error.is_not_ours() => Answer::Never { why: error.problem() },
        Err(error) => Answer::Later { pause: EXPORT_SHORTEST_BACKOFF, why: error.to_string() },
    }
}
