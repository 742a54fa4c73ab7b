//! The one error of the crate: opaque, with predicates, always naming the file or the setting.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::problem::Problem;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure outside the hot path. Its text names the thing and, where there is one, the remedy.
#[derive(Debug)]
pub struct Error(Box<Kind>);

#[derive(Debug)]
enum Kind {
    Io { action: &'static str, path: PathBuf, source: io::Error },
    NotOurs { path: PathBuf, reason: &'static str },
    Setting { name: String, reason: String },
    Conflict { message: String },
    NoLog { problem: Problem },
    Corrupt { path: PathBuf, reason: String },
    TooLarge { message: String },
}

impl Error {
    /// An operating-system error, with what was being done and to which file.
    #[must_use]
    #[cold]
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self(Box::new(Kind::Io { action, path: path.to_owned(), source }))
    }

    /// A name in the run directory that leads to something which must not be written through.
    #[must_use]
    #[cold]
    pub fn not_ours(path: &Path, reason: &'static str) -> Self {
        Self(Box::new(Kind::NotOurs { path: path.to_owned(), reason }))
    }

    /// A setting with a value that cannot be used.
    #[must_use]
    #[cold]
    pub fn setting(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self(Box::new(Kind::Setting { name: name.into(), reason: reason.into() }))
    }

    /// What was asked for contradicts what the run directory says.
    #[must_use]
    #[cold]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self(Box::new(Kind::Conflict { message: message.into() }))
    }

    /// There is no log where one was to be read.
    #[must_use]
    #[cold]
    pub fn no_log(problem: impl Into<Problem>) -> Self {
        Self(Box::new(Kind::NoLog { problem: problem.into() }))
    }

    /// A file of ours that does not hold what it should.
    #[must_use]
    #[cold]
    pub fn corrupt(path: &Path, reason: impl Into<String>) -> Self {
        Self(Box::new(Kind::Corrupt { path: path.to_owned(), reason: reason.into() }))
    }

    /// What was asked for takes more than a stated limit.
    #[must_use]
    #[cold]
    pub fn too_large(message: impl Into<String>) -> Self {
        Self(Box::new(Kind::TooLarge { message: message.into() }))
    }

    /// A word for the kind of failure: `io`, `not_ours`, `setting`, `conflict`, `no_log`, `corrupt` or `too_large`.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match *self.0 {
            Kind::Io { .. } => "io",
            Kind::NotOurs { .. } => "not_ours",
            Kind::Setting { .. } => "setting",
            Kind::Conflict { .. } => "conflict",
            Kind::NoLog { .. } => "no_log",
            Kind::Corrupt { .. } => "corrupt",
            Kind::TooLarge { .. } => "too_large",
        }
    }

    /// Whether a setting was at fault.
    #[must_use]
    pub fn is_setting(&self) -> bool {
        matches!(*self.0, Kind::Setting { .. })
    }

    /// Whether the request contradicts the run directory.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(*self.0, Kind::Conflict { .. })
    }

    /// Whether a name leads to something that is not ours.
    #[must_use]
    pub fn is_not_ours(&self) -> bool {
        matches!(*self.0, Kind::NotOurs { .. })
    }

    /// Whether there was no log to read.
    #[must_use]
    pub fn is_no_log(&self) -> bool {
        matches!(*self.0, Kind::NoLog { .. })
    }

    /// What is wrong, with the facts of its remedy.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match &*self.0 {
            Kind::NoLog { problem } => problem.clone(),
            _ => self.to_string().into(),
        }
    }

    /// The operating-system error behind this one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match &*self.0 {
            Kind::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// The operating system's number for the error behind this one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match &*self.0 {
            Kind::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Kind::NotOurs { path, reason } => {
                write!(f, "refusing to use {}: {reason}; remove it or choose another run directory", path.display())
            }
            Kind::Setting { name, reason } => write!(f, "{name}: {reason}"),
            Kind::Conflict { message } | Kind::TooLarge { message } => f.write_str(message),
            Kind::NoLog { problem } => problem.fmt(f),
            Kind::Corrupt { path, reason } => write!(f, "{} is damaged: {reason}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Kind::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
