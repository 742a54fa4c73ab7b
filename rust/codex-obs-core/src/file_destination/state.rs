//! What is noted beside a file: the place in the log up to which it has the rows, and how far the file itself is known.

use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::file::Mark;
use crate::error::{Error, Result};
use crate::fs;

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;
/// Longest file read: a group of 10,000 rows with their names is kept in one.
const MAX_BYTES: u64 = 64 << 20;

/// The state of a file. `T` is what its format adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State<T> {
    version: u64,
    /// The run whose rows the file has.
    pub run_id: String,
    /// The file, relative to the folder of the state.
    pub file: String,
    /// How far it is known.
    pub mark: Mark,
    /// The place in the log.
    pub place: Value,
    /// What the format adds.
    pub own: T,
}

impl<T: Serialize + DeserializeOwned> State<T> {
    /// A state as it is now.
    pub fn new(run_id: &str, file: &str, mark: Mark, place: Value, own: T) -> Self {
        Self { version: VERSION, run_id: run_id.to_owned(), file: file.to_owned(), mark, place, own }
    }

    /// What the file at `path` says. `None`: nothing that can be read, so that the destination's file is made anew.
    ///
    /// # Errors
    /// If another version wrote it.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let mut bytes = Vec::new();
        match fs::open_read(path) {
            Ok(file) => {
                file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|source| Error::io("read", path, source))?;
            }
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        }
        let Ok(document) = serde_json::from_slice::<Value>(&bytes) else { return Ok(None) };
        match document.get("version").and_then(Value::as_u64) {
            Some(VERSION) => Ok(serde_json::from_value(document).ok()),
            Some(version) => Err(Error::conflict(format!(
                "{} has version {version} and this codex_obs knows version {VERSION} only: use the codex_obs that wrote it, or \
                 delete this file to have the destination written anew from the log",
                path.display()
            ))),
            None => Ok(None),
        }
    }

    /// Puts it on disk.
    pub fn save(&self, path: &Path, mode: u32) -> Result<()> {
        let mut text =
            serde_json::to_vec(self).map_err(|error| Error::io("write", path, std::io::Error::other(error)))?;
        text.push(b'\n');
        fs::replace(path, &text, mode)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_comes_back_damage_is_none_and_another_version_stops() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".codex_obs.json");
        assert_eq!(State::<u64>::load(&path).unwrap(), None);
        let mark = Mark { length: u64::MAX, last_bytes: 2, last_hash: 3 };
        let state = State::new("r", "file", mark, json!({"offset": 5}), 7_u64);
        state.save(&path, 0o600).unwrap();
        assert_eq!(State::load(&path).unwrap(), Some(state));
        let text = std::fs::read_to_string(&path).unwrap();
        for length in 0..text.len() - 1 {
            std::fs::write(&path, &text[..length]).unwrap();
            assert_eq!(State::<u64>::load(&path).unwrap(), None, "{length}");
        }
        std::fs::write(&path, text.replacen("\"version\":1", "\"version\":2", 1)).unwrap();
        let error = State::<u64>::load(&path).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains("delete this file"), "{error}");
    }
}
