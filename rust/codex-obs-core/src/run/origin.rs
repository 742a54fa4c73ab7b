//! Who trains where, and on which commit, as the newest session of a stream put it on record.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::paths::{FileKind, Stream};

/// Where a training ran. What is not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Name of the machine.
    pub host: Option<String>,
    /// Name of the user.
    pub user: Option<String>,
    /// The commit that the training program's repository was at.
    pub git_commit: Option<String>,
    /// The branch of that.
    pub git_branch: Option<String>,
}

impl Origin {
    /// That of the newest session of `stream`.
    ///
    /// # Errors
    /// If the file of the sessions cannot be read.
    pub fn of(directory: &Path, stream: &Stream) -> Result<Self> {
        let path = FileKind::Session.path(directory, stream);
        let file = match crate::fs::open_read(&path) {
            Ok(file) => file,
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut newest = None;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|source| Error::io("read", &path, source))?;
            let record = serde_json::from_slice::<Value>(&line).ok();
            let is_start = |record: &Value| record.get("record").and_then(Value::as_str) == Some("start");
            newest = record.filter(is_start).or(newest);
        }
        let Some(record) = newest else { return Ok(Self::default()) };
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            host: text("/host"),
            user: text("/user"),
            git_commit: text("/git/commit"),
            git_branch: text("/git/branch"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_start_counts_and_what_is_missing_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Origin::of(folder.path(), &Stream::main()).unwrap();
        assert_eq!(read(), Origin::default());
        let records = concat!(
            r#"{"record":"start","host":"old","user":"u","git":{"commit":"1","branch":"b"}}"#,
            "\n",
            r#"{"record":"start","host":"new","user":null,"git":{"commit":"2"}}"#,
            "\n",
            r#"{"record":"finish","host":"other"}"#,
            "\nno record\n",
        );
        std::fs::write(folder.path().join("run.ndjson"), records).unwrap();
        let expected = Origin { host: Some("new".into()), git_commit: Some("2".into()), ..Origin::default() };
        assert_eq!(read(), expected);
    }
}
