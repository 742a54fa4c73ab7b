//! `export_names.ndjson`: names that a destination has under another one.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;

use super::names::{NameRule, Names, Renamed};
use super::settings::RunFolder;
use crate::clock::Clock;
use crate::encode::line;
use crate::error::{Error, Result};
use crate::fs::{open_existing, require_usable};
use crate::limits::{EXPORT_REPORTED_BYTES, EXPORT_REPORTED_NAMES};
use crate::paths::Stream;
use crate::shard::policy::Policy;
use crate::shard::writer::ShardWriter;

/// Names that one notice shows.
const SHOWN_NAMES: usize = 3;
/// Most characters of a name that a notice repeats.
const SHOWN_CHARACTERS: usize = 120;

/// The file of a stream, each name once. It is created with the first name.
#[derive(Debug)]
pub struct RenamedLog {
    writer: ShardWriter,
    clock: Clock,
    destination: String,
    /// The names at the destination that are in the file; read when there is one to add.
    known: Option<HashSet<String>>,
    /// Names that were added, and how many of them the last notice was about.
    added: usize,
    told: usize,
    has_failed: bool,
}

#[derive(Deserialize)]
struct Line {
    destination: String,
    remote_name: String,
}

impl RenamedLog {
    /// The log for what is renamed at `destination`.
    ///
    /// # Errors
    /// If something lies in the file's place that must not be written to.
    pub fn new(folder: &RunFolder<'_>, stream: &Stream, clock: Clock, destination: String) -> Result<Self> {
        let path = folder.directory.join(stream.file_name("export_names", "ndjson"));
        require_usable(&path)?;
        let writer = ShardWriter::new(path, Policy::OFF, folder.file_mode, clock.clone());
        Ok(Self { writer, clock, destination, known: None, added: 0, told: 0, has_failed: false })
    }

    /// Keeps what was renamed lately. Gives what the user should hear: of the first names, and again when they have doubled.
    pub fn keep(&mut self, run_id: &str, names: &mut Names) -> Option<String> {
        let renamed = names.take_renamed();
        if renamed.is_empty() {
            return None;
        }
        let known = self.known.take().unwrap_or_else(|| self.read().unwrap_or_default());
        let mut fresh = Vec::new();
        let mut lines = Vec::new();
        let known = self.known.insert(known);
        for name in renamed {
            if known.len() < EXPORT_REPORTED_NAMES && known.insert(name.remote_name.clone()) {
                let now = self.clock.now_micros();
                lines.extend(line::renamed(now, run_id, &self.destination, &name.name, &name.remote_name));
                fresh.push(name);
            }
        }
        self.added += fresh.len();
        let failure = self.append(&lines).err().filter(|_| !std::mem::replace(&mut self.has_failed, true));
        let destination = names.rule().destination;
        let failure =
            failure.map(|error| format!("{error}: names that {destination} does not accept are still changed"));
        if fresh.is_empty() || self.added < 2 * self.told {
            return failure;
        }
        self.told = self.added;
        failure.or_else(|| Some(self.words(&fresh, names.rule())))
    }

    fn append(&mut self, lines: &[u8]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.writer.look()?;
        self.writer.append(lines)
    }

    /// The names that are in the file.
    fn read(&self) -> Result<HashSet<String>> {
        let path = self.writer.path();
        let file = match open_existing(path) {
            Ok(file) => file.take(EXPORT_REPORTED_BYTES),
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(HashSet::new()),
            Err(error) => return Err(error),
        };
        let mut known = HashSet::new();
        for text in BufReader::new(file).split(b'\n') {
            let text = text.map_err(|source| Error::io("read", path, source))?;
            if let Ok(line) = serde_json::from_slice::<Line>(&text)
                && line.destination == self.destination
            {
                known.insert(line.remote_name);
            }
        }
        Ok(known)
    }

    fn words(&self, fresh: &[Renamed], rule: &NameRule) -> String {
        let shown = |renamed: &Renamed| {
            let name: String = renamed.name.chars().take(SHOWN_CHARACTERS).collect();
            format!("{name:?} is {:?}", renamed.remote_name)
        };
        let examples = fresh.iter().take(SHOWN_NAMES).map(shown).collect::<Vec<_>>().join(", ");
        let path = self.writer.path().display();
        let others = match self.added - fresh.len().min(SHOWN_NAMES) {
            0 => String::new(),
            1 => format!("; 1 other is in {path}"),
            others => format!("; {others} others are in {path}"),
        };
        let subject = if self.added == 1 { "a name is" } else { "names are" };
        format!("{subject} changed for {}, which accepts {}: {examples}{others}", rule.destination, rule.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RULE: NameRule = NameRule {
        destination: "MLflow",
        words: "no @",
        is_valid: |name| !name.contains('@'),
        make_valid: |name| name.replace('@', "_"),
    };

    fn log(folder: &tempfile::TempDir) -> RenamedLog {
        let place = RunFolder { directory: folder.path(), file_mode: 0o600 };
        RenamedLog::new(&place, &Stream::main(), Clock::System, "mlflow http://h".to_owned()).unwrap()
    }

    fn rename(names: &mut Names, numbers: std::ops::Range<usize>) {
        for number in numbers {
            names.plain(&format!("@{number}"));
        }
    }

    fn lines(folder: &tempfile::TempDir) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(folder.path().join("export_names.ndjson")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_thousand_names_are_one_notice_and_all_of_them_are_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, mut names) = (log(&folder), Names::new(&RULE));
        assert_eq!(log.keep("r1", &mut names), None);
        assert!(!folder.path().join("export_names.ndjson").exists());
        rename(&mut names, 0..1000);
        let notice = log.keep("r1", &mut names).unwrap();
        assert!(notice.contains("\"@2\" is \"_2-") && !notice.contains("\"@3\""), "{notice}");
        assert!(notice.contains("997 others are in ") && notice.ends_with("export_names.ndjson"), "{notice}");
        let lines = lines(&folder);
        assert_eq!(lines.len(), 1000);
        assert_eq!(lines[7]["name"], "@7");
        assert_eq!(lines[7]["remote_name"], *Names::new(&RULE).plain("@7"));
    }

    #[test]
    fn one_more_is_told_only_when_they_have_doubled() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, mut names) = (log(&folder), Names::new(&RULE));
        let mut told = Vec::new();
        for number in 0..100 {
            rename(&mut names, number..number + 1);
            told.extend(log.keep("r1", &mut names).map(|_| number + 1));
        }
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(lines(&folder).len(), 100);
    }

    #[test]
    fn what_an_earlier_session_has_said_is_not_said_again() {
        let folder = tempfile::tempdir().unwrap();
        for (session, expected) in [true, false].into_iter().enumerate() {
            let mut names = Names::new(&RULE);
            rename(&mut names, 0..3);
            assert_eq!(log(&folder).keep("r1", &mut names).is_some(), expected, "{session}");
        }
        let mut names = Names::new(&RULE);
        rename(&mut names, 2..4);
        let notice = log(&folder).keep("r1", &mut names).unwrap();
        assert!(notice.starts_with("a name is changed") && notice.contains("\"@3\""), "{notice}");
        assert_eq!(lines(&folder).len(), 4);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, mut names) = (log(&folder), Names::new(&RULE));
        std::fs::create_dir(folder.path().join("export_names.ndjson")).unwrap();
        rename(&mut names, 0..1);
        let notice = log.keep("r1", &mut names).unwrap();
        assert!(notice.contains("export_names.ndjson") && notice.contains("still changed"), "{notice}");
        rename(&mut names, 1..2);
        assert!(log.keep("r1", &mut names).is_some_and(|notice| notice.starts_with("names are changed")));
    }
}
