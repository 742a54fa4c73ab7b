"""Everything that codex_obs raises by itself. Wrong types of arguments raise `TypeError`, as everywhere in Python."""


class CodexObsError(Exception):
    """Base class of all errors of this package. The text says what to do about it."""


class SettingError(CodexObsError, ValueError):
    """An argument, a setting or an environment variable has a value that cannot be used."""


class ConflictError(CodexObsError):
    """The request contradicts the run directory, or a run that is already open."""


class NoActiveRunError(CodexObsError, RuntimeError):
    """A function of the module acts on the current run, and no run is open."""


class NoLogError(CodexObsError):
    """There is no run log at the path that was to be read."""


class LogFileError(CodexObsError, OSError):
    """The operating system refused to open, write or lock a file of a run."""


class UnsafePathError(LogFileError):
    """A name in the run directory leads to a link, a device or another user's file, which is not written through."""


class DamagedFileError(LogFileError):
    """A file of a run does not hold what it should."""
