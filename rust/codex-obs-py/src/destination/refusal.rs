//! What a Python object that is a destination answers by raising.

use std::time::Duration;

use codex_obs_core::deliver::destination::Answer;
use codex_obs_core::limits::{EXPORT_LONGEST_BACKOFF, EXPORT_LONGEST_RETRY_AFTER, EXPORT_SHORTEST_BACKOFF};
use pyo3::exceptions::{PyRecursionError, PyValueError};
use pyo3::prelude::*;

/// Where the classes are that it knows.
pub const BASE: &str = "codex_obs.destinations.base";
/// Longest words of an exception that are repeated.
const WORDS: usize = 500;

/// Why a call was not taken.
pub enum Refusal {
    Later {
        pause: Option<Duration>,
        why: String,
    },
    Never {
        why: String,
    },
    /// Nothing is handed over any more: what is wrong is wrong with every row.
    Stop {
        why: String,
    },
}

impl Refusal {
    /// As an answer, after so many calls that failed one after the other.
    pub fn answer(self, failures: u32) -> Answer {
        match self {
            Self::Later { pause, why } => {
                let doubled = EXPORT_SHORTEST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(10));
                Answer::Later { pause: pause.unwrap_or(doubled.min(EXPORT_LONGEST_BACKOFF)), why }
            }
            Self::Never { why } | Self::Stop { why } => Answer::Never { why: why.into() },
        }
    }
}

/// What an exception says: `Later` and `Never` what they are for, anything else that it may work another time.
pub fn refusal(py: Python<'_>, error: &PyErr) -> Refusal {
    let is = |name: &str| {
        py.import(BASE).and_then(|base| base.getattr(name)).is_ok_and(|class| error.matches(py, class).unwrap_or(false))
    };
    if is("Never") {
        return Refusal::Never { why: error.value(py).to_string() };
    }
    if is("Later") {
        let pause = error.value(py).getattr("after_s").and_then(|pause| pause.extract::<Option<f64>>()).ok().flatten();
        // As what a server asks for.
        let longest = EXPORT_LONGEST_RETRY_AFTER.as_secs_f64();
        let pause = pause.filter(|pause| !pause.is_nan());
        let pause = pause.and_then(|pause| Duration::try_from_secs_f64(pause.min(longest)).ok());
        return Refusal::Later { pause, why: error.value(py).to_string() };
    }
    Refusal::Later { pause: None, why: words(py, error) }
}

/// Whether what was to be read stays unreadable.
pub fn is_unreadable(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyRecursionError>(py)
}

/// Why what a call needs cannot be made.
pub fn unmade(py: Python<'_>, error: &PyErr) -> Refusal {
    let why = words(py, error);
    if is_unreadable(py, error) {
        return Refusal::Never { why };
    }
    Refusal::Later { pause: None, why }
}

/// An exception in one line.
pub fn words(py: Python<'_>, error: &PyErr) -> String {
    let class = error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    let text = error.value(py).str().map_or_else(|_| String::new(), |text| text.to_string());
    let line = text.lines().next().unwrap_or_default();
    let line: String = line.chars().take(WORDS).collect();
    if line.is_empty() { class } else { format!("{class}: {line}") }
}
