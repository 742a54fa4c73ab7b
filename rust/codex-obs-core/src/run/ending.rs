//! How a run ended.

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// As meant.
    Finished,
    /// With an exception.
    Failed,
    /// By an interrupt, a signal, or without a word.
    Killed,
}

impl RunStatus {
    /// The word for it in our files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
        }
    }

    /// The status that a word stands for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Finished, Self::Failed, Self::Killed].into_iter().find(|status| status.word() == word)
    }
}
