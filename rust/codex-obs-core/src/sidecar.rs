//! The process beside the trainer: started with the session, started anew if it dies. What it does is not known here.

use std::collections::HashSet;
use std::io::{BufReader, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::fs::{FileId, open_append, open_read, remove_if_there, replace};
use crate::paths::{Stream, sidecar_state_path, sidecar_turn_path, sidecar_words_path};
use crate::spawn::{Program, Spawned};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// The most that is read of how it stands.
const MOST_STATE: u64 = 1 << 20;
/// Pauses before it is started again; then it is not any more.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// What is started.
#[derive(Clone, Debug)]
pub struct SidecarSettings {
    /// The program.
    pub program: Program,
    /// Names it: it works as long as this stands where its turn is noted.
    pub token: String,
    /// Whether it is started with the session; else once it is asked for.
    pub at_once: bool,
    /// What the user hears if it cannot be kept running: what that means and the remedy.
    pub given_up: String,
}

/// The process beside the trainer.
#[derive(Debug)]
pub struct Sidecar {
    settings: SidecarSettings,
    /// Where it says what it has to say.
    words: PathBuf,
    turn: PathBuf,
    /// Where it says how it stands.
    standing: PathBuf,
    file_mode: u32,
    state: Mutex<State>,
}

/// What is read of how it stands.
#[derive(Deserialize)]
struct Standing {
    token: String,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct State {
    /// What the user heard of what it said.
    heard: HashSet<String>,
    process: Option<Spawned>,
    /// How often it ended, or could not be started.
    deaths: usize,
    /// When it is started again.
    due: Option<Instant>,
    next_look: Instant,
    has_started: bool,
    /// It is not looked after any more.
    is_over: bool,
    /// It cannot be kept running, and that was said; or it is somebody else's.
    is_given_up: bool,
}

impl Sidecar {
    /// One that is not started, for the run in `directory`.
    #[must_use]
    pub fn new(settings: SidecarSettings, directory: &Path, file_mode: u32) -> Self {
        let next_look = Instant::now() + LOOK;
        let state = State {
            heard: HashSet::new(),
            process: None,
            deaths: 0,
            due: None,
            next_look,
            has_started: false,
            is_over: false,
            is_given_up: false,
        };
        let stream = Stream::of_sidecar();
        let (words, turn) = (sidecar_words_path(directory, &stream), sidecar_turn_path(directory, &stream));
        let standing = sidecar_state_path(directory, &stream);
        Self { settings, words, turn, standing, file_mode, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is started with the session.
    #[must_use]
    pub fn is_at_once(&self) -> bool {
        self.settings.at_once
    }

    /// Starts it, once. Earlier ones leave, and what they said is forgotten.
    pub fn start(&self) {
        let mut state = self.lock();
        if state.is_over || std::mem::replace(&mut state.has_started, true) {
            return;
        }
        // Without it, it leaves at once: that is heard of.
        let _ = replace(&self.turn, self.settings.token.as_bytes(), self.file_mode);
        let _ = remove_if_there(&self.words);
        let _ = remove_if_there(&self.standing);
        self.begin(&mut state);
    }

    /// Starts it again where it has died. Gives what the user should hear, each once.
    pub fn look(&self) -> Vec<String> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.is_over || !state.has_started || now < state.next_look {
            return Vec::new();
        }
        state.next_look = now + LOOK;
        state.look();
        if state.due.is_some_and(|due| due <= now) {
            state.due = None;
            self.begin(&mut state);
        }
        state.is_given_up = state.process.is_none() && state.due.is_none();
        state.is_over = state.is_given_up;
        let mut words = self.new_words(&mut state);
        words.extend(
            state.is_given_up.then(|| format!("{}; its words are in {}", self.settings.given_up, self.words.display())),
        );
        words
    }

    /// What it has said that the user did not hear yet.
    pub fn unheard(&self) -> Vec<String> {
        let mut state = self.lock();
        if state.has_started { self.new_words(&mut state) } else { Vec::new() }
    }

    fn new_words(&self, state: &mut State) -> Vec<String> {
        let standing = open_read(&self.standing)
            .ok()
            .and_then(|file| serde_json::from_reader::<_, Standing>(BufReader::new(file.take(MOST_STATE))).ok());
        let mine = standing.filter(|standing| standing.token == self.settings.token);
        let words = mine.map(|standing| standing.warnings).unwrap_or_default();
        words.into_iter().filter(|words| state.heard.insert(words.clone())).collect()
    }

    /// From now on it is not started again.
    pub fn retire(&self) {
        let mut state = self.lock();
        state.is_over = true;
        if let Some(process) = &state.process {
            process.leave();
        }
    }

    /// Starts it at once where it has died and may be started again, for the rest of its work. `None` if there is none to wait for;
    /// else whether it works: that it cannot be kept running nobody has heard yet.
    #[must_use]
    pub fn again(&self) -> Option<bool> {
        let mut state = self.lock();
        if !state.has_started || state.is_given_up {
            return None;
        }
        state.look();
        while state.process.is_none() && state.due.take().is_some() {
            self.begin(&mut state);
        }
        state.is_given_up = state.process.is_none();
        if let Some(process) = &state.process {
            process.leave();
        }
        Some(!state.is_given_up)
    }

    /// A descriptor that is readable once it has ended, as long as this lives; `None` if it does not run.
    #[must_use]
    pub fn ends(&self) -> Option<RawFd> {
        self.lock().process.as_ref()?.ends.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// In a forked child: lets go of it.
    pub fn abandon(&self) {
        if let Ok(mut state) = self.state.try_lock() {
            state.process = None;
            state.is_over = true;
            state.is_given_up = true;
        }
    }

    fn begin(&self, state: &mut State) {
        let words = open_append(&self.words, self.file_mode);
        let spawned = words.and_then(|words| {
            self.settings.program.spawn(&words).map_err(|source| Error::io("start", &self.words, source))
        });
        match spawned {
            Ok(process) => state.process = Some(process),
            Err(_) => state.note_death(),
        }
    }
}

impl State {
    /// Notices that it has ended.
    fn look(&mut self) {
        if self.process.as_ref().is_some_and(Spawned::has_ended) {
            self.process = None;
            self.note_death();
        }
    }

    /// It has ended, or could not be started: sees to it that it is started again, if it is.
    fn note_death(&mut self) {
        self.due = PAUSES.get(self.deaths).map(|pause| Instant::now() + *pause);
        self.deaths += 1;
    }
}

/// Has the sidecar of an earlier session leave: the session that begins has none.
///
/// # Errors
/// If that cannot be noted.
pub fn retract(directory: &Path, file_mode: u32) -> Result<()> {
    let turn = sidecar_turn_path(directory, &Stream::of_sidecar());
    if FileId::at(&turn)?.is_some() { replace(&turn, b"", file_mode) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    fn sidecar(script: &str, directory: &Path) -> Sidecar {
        std::fs::create_dir_all(directory.join(crate::paths::INTERNALS)).unwrap();
        let arguments = ["sh", "-c", script].map(OsStr::new);
        let program = Program::new(OsStr::new("/bin/sh"), arguments, [], Vec::new()).unwrap();
        Sidecar::new(
            SidecarSettings { program, token: "7".to_owned(), at_once: true, given_up: "it is gone".to_owned() },
            directory,
            0o600,
        )
    }

    /// Looks until something is said, without waiting between two looks.
    fn said(sidecar: &Sidecar) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            {
                let mut state = sidecar.lock();
                state.next_look = Instant::now();
                state.due = state.due.map(|_| Instant::now());
            }
            if let Some(words) = sidecar.look().pop() {
                return words;
            }
            assert!(Instant::now() < deadline, "nothing is said");
            std::thread::yield_now();
        }
    }

    #[test]
    fn one_that_dies_is_started_three_times_in_all_and_then_given_up_with_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let sidecar = sidecar("echo gone >&2", folder.path());
        sidecar.start();
        assert!(said(&sidecar).starts_with("it is gone; its words are in "));
        assert_eq!(std::fs::read_to_string(&sidecar.words).unwrap(), "gone\n".repeat(3));
        assert_eq!(sidecar.look(), [""; 0], "it is said once");
        assert_eq!(std::fs::read_to_string(&sidecar.turn).unwrap(), "7");
        retract(folder.path(), 0o600).unwrap();
        assert_eq!(std::fs::read_to_string(&sidecar.turn).unwrap(), "");
    }

    #[test]
    fn at_the_end_one_that_has_died_is_started_at_once_but_no_more_often_than_before() {
        let folder = tempfile::tempdir().unwrap();
        let sidecar = sidecar("echo gone >&2", folder.path());
        assert_eq!(sidecar.again(), None, "it was never started");
        sidecar.start();
        sidecar.retire();
        let deadline = Instant::now() + Duration::from_secs(30);
        while sidecar.again() == Some(true) {
            assert!(Instant::now() < deadline, "it never ends");
            std::thread::yield_now();
        }
        assert_eq!(std::fs::read_to_string(&sidecar.words).unwrap(), "gone\n".repeat(3));
        assert_eq!(sidecar.again(), None, "that was said");
    }

    #[test]
    fn what_it_says_is_heard_once_and_another_s_never() {
        let folder = tempfile::tempdir().unwrap();
        let sidecar = sidecar("exec sleep 600", folder.path());
        std::fs::write(&sidecar.standing, r#"{"token":"7","warnings":["old"]}"#).unwrap();
        sidecar.start();
        assert_eq!(sidecar.unheard(), [""; 0], "what an earlier one said is forgotten");
        let say = |text: &str| std::fs::write(&sidecar.standing, text).unwrap();
        say(r#"{"token":"7","left":[],"warnings":["a","b"]}"#);
        assert_eq!(sidecar.unheard(), ["a", "b"]);
        say(r#"{"token":"7","left":[],"warnings":["a","b","c"]}"#);
        sidecar.lock().next_look = Instant::now();
        assert_eq!(sidecar.look(), ["c"]);
        for other in [r#"{"token":"8","warnings":["d"]}"#, "", "[1]", r#"{"token":"7","warnings":[1]}"#] {
            say(other);
            assert_eq!(sidecar.unheard(), [""; 0], "{other}");
        }
        let pid = Pid::from_raw(sidecar.lock().process.as_ref().unwrap().pid.cast_signed()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn one_that_cannot_be_started_is_given_up_and_one_that_is_retired_is_not_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut missing = sidecar("", folder.path());
        missing.settings.program = Program::new(OsStr::new("/no/such"), [OsStr::new("it")], [], Vec::new()).unwrap();
        missing.start();
        assert!(missing.ends().is_none());
        assert!(said(&missing).starts_with("it is gone"));

        let retired = sidecar("exit 1", folder.path());
        retired.start();
        retired.retire();
        retired.lock().next_look = Instant::now();
        assert_eq!(retired.look(), [""; 0]);
        assert_eq!(retired.lock().deaths, 0);
    }
}
