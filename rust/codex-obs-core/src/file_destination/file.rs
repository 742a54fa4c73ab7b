//! A file of ours that grows by whole records, and is truncated to a known length when it is resumed.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::records::Records;
use crate::error::{Error, Result};
use crate::fs::{self, FileId, Held};

/// How far a file is known, and by which record it is known again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes of the file.
    pub length: u64,
    /// Bytes of its last record.
    pub last_bytes: u64,
    /// Hash of its last record.
    pub last_hash: u64,
}

impl Mark {
    /// The mark of a file that ends with `records`.
    fn after(length: u64, records: &Records) -> Self {
        let last = records.last();
        Self { length: length + records.bytes().len() as u64, last_bytes: last.len() as u64, last_hash: xxh3_64(last) }
    }
}

/// An open file of ours. One process writes it at a time.
#[derive(Debug)]
pub struct OwnFile {
    path: PathBuf,
    file: Held,
    mark: Mark,
    /// Something stands behind the mark that is replaced by what is appended next.
    has_end: bool,
    /// The kernel may have bytes that the disk does not have.
    is_unsynced: bool,
}

impl OwnFile {
    /// Makes the file at `path` anew with `records`, so that a death at any moment leaves the old one or the new one.
    pub fn create(path: &Path, records: &Records, mode: u32) -> Result<Self> {
        fs::replace(path, records.bytes(), mode)?;
        let file = Held::over(fs::open_existing(path)?, path)?;
        Ok(Self { path: path.to_owned(), file, mark: Mark::after(0, records), has_end: false, is_unsynced: true })
    }

    /// Opens the file at `path` behind `mark`; what is appended next takes the place of what stands there, which may be its end.
    /// `None`: there is no file, or it does not hold that record there.
    pub fn resume(path: &Path, mark: Mark) -> Result<Option<Self>> {
        let file = match fs::open_existing(path) {
            Ok(file) => Held::over(file, path)?,
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = fs::length_now(&file).map_err(|source| Error::io("examine", path, source))?;
        if length < mark.length || mark.last_bytes > mark.length {
            return Ok(None);
        }
        let mut last = vec![0; usize::try_from(mark.last_bytes).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut last, mark.length - mark.last_bytes)
            .map_err(|source| Error::io("read", path, source))?;
        if xxh3_64(&last) != mark.last_hash {
            return Ok(None);
        }
        let has_end = length > mark.length;
        Ok(Some(Self { path: path.to_owned(), file, mark, has_end, is_unsynced: false }))
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far it is known.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether the path still leads to this file, and all of it is there.
    pub fn is_there(&self) -> Result<bool> {
        if FileId::at(&self.path)? != Some(self.file.id()) {
            return Ok(false);
        }
        let length = self.file.length().map_err(|source| Error::io("examine", &self.path, source))?;
        Ok(length.is_some_and(|length| length >= self.mark.length))
    }

    /// Adds `records` to its end. After an error the file ends where it did before, as far as that can be had.
    pub fn append(&mut self, records: &Records) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.write(records)?;
        self.mark = Mark::after(self.mark.length, records);
        Ok(())
    }

    /// Adds `records` that end the file until more is appended: they are no part of what is known of it, and what is appended next
    /// takes their place.
    pub fn end(&mut self, records: &Records) -> Result<()> {
        self.write(records)?;
        self.has_end = true;
        Ok(())
    }

    fn write(&mut self, records: &Records) -> Result<()> {
        if !self.is_there()? {
            return Err(Error::io("write", &self.path, io::ErrorKind::NotFound.into()));
        }
        let length = self.mark.length;
        let failed = |source| Error::io("write", &self.path, source);
        let file = self.file.get().map_err(failed)?;
        if self.has_end {
            file.set_len(length).map_err(failed)?;
            self.has_end = false;
        }
        self.is_unsynced = true;
        file.write_all_at(records.bytes(), length).map_err(|source| {
            // A full disk still lets a file become shorter. Where not even that works, the next attempt writes the same bytes to
            // the same place.
            let _ = file.set_len(length);
            failed(source)
        })
    }

    /// Brings what was added to the disk.
    pub fn sync(&mut self) -> Result<()> {
        if self.is_unsynced {
            let file = self.file.get().map_err(|source| Error::io("sync", &self.path, source))?;
            fs::sync_file(file, &self.path)?;
            self.is_unsynced = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(texts: &[&str]) -> Records {
        let mut records = Records::default();
        for text in texts {
            records.begin().extend_from_slice(text.as_bytes());
        }
        records
    }

    #[test]
    fn a_file_that_is_resumed_ends_with_the_record_that_was_noted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "an older one").unwrap();
        let mut file = OwnFile::create(&path, &records(&["head"]), 0o600).unwrap();
        file.append(&records(&["one", "two"])).unwrap();
        let noted = file.mark();
        assert_eq!((noted.length, noted.last_bytes), (10, 3));
        file.append(&records(&["three"])).unwrap();
        file.sync().unwrap();
        assert!(file.is_there().unwrap());
        drop(file);

        let mut file = OwnFile::resume(&path, noted).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "headonetwothree", "it stands until something is added");
        file.append(&records(&["3"])).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "headonetwo3");

        for other in ["headonetwO", "headonetw", ""] {
            std::fs::write(&path, other).unwrap();
            assert!(OwnFile::resume(&path, noted).unwrap().is_none(), "{other:?} is another file");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), other, "and is left as it is");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(OwnFile::resume(&path, noted).unwrap().is_none());
        assert!(!file.is_there().unwrap());
    }

    #[test]
    fn a_file_that_was_replaced_or_truncated_is_no_longer_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = OwnFile::create(&path, &records(&["head"]), 0o600).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(3).unwrap();
        assert!(!file.is_there().unwrap());
        std::fs::write(&path, "head").unwrap();
        assert!(file.is_there().unwrap());
        std::fs::write(folder.path().join("other"), "head").unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        assert!(!file.is_there().unwrap());
    }

    #[test]
    fn what_ends_a_file_gives_way_to_what_is_appended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let text = || std::fs::read_to_string(&path).unwrap();
        let mut file = OwnFile::create(&path, &records(&["head"]), 0o600).unwrap();
        let noted = file.mark();
        file.end(&records(&["a long end"])).unwrap();
        assert_eq!((file.mark(), text().as_str()), (noted, "heada long end"));
        file.end(&records(&["end"])).unwrap();
        assert_eq!(text(), "headend");
        file.append(&records(&["1"])).unwrap();
        assert_eq!(text(), "head1");
        file.end(&records(&["end"])).unwrap();
        let mut file = OwnFile::resume(&path, file.mark()).unwrap().unwrap();
        assert_eq!(text(), "head1end", "a file that is looked at keeps its end");
        file.append(&records(&["2"])).unwrap();
        assert_eq!(text(), "head12");
    }

    #[test]
    fn links_are_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("file"), folder.path().join("target"));
        std::fs::write(&target, "head").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let mark = Mark { length: 2, last_bytes: 2, last_hash: xxh3_64(b"he") };
        OwnFile::resume(&path, mark).unwrap_err();
        OwnFile::create(&path, &records(&["new"]), 0o600).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "head");
    }
}
