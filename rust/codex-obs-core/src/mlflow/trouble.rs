//! What came of a request about the run, and texts as messages repeat them.

use super::classify::Outcome;
use crate::http::attempts::{Complaint, Halt};

/// Most characters of a value that a notice repeats.
const SHOWN_CHARACTERS: usize = 80;

/// Why a request about the run came to nothing.
#[derive(Debug)]
pub enum Trouble {
    /// Not now, or never.
    Halted(Halt),
    /// The server does not want it.
    Refused(Complaint),
}

pub(super) fn accepted(outcome: Outcome) -> Result<Vec<u8>, Trouble> {
    match outcome {
        Outcome::Accepted(body) => Ok(body),
        Outcome::Halted(halt) => Err(Trouble::Halted(halt)),
        Outcome::Refused { complaint, .. } | Outcome::TooLarge(complaint) => Err(Trouble::Refused(complaint)),
        Outcome::Failed { complaint, pause } => {
            let why = format!("the server failed with status {}: {}", complaint.status, complaint.words);
            Err(Trouble::Halted(Halt::later(pause, why)))
        }
    }
}

/// What is said of an answer that MLflow does not give.
pub(super) fn not_mlflow(base: &str, error: &dyn std::fmt::Display) -> String {
    format!("{base} does not look like an MLflow server ({error}); check the address")
}

/// A text as a message repeats it.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARACTERS).collect();
    format!("{cut:?}")
}
