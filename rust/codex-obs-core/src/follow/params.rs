//! Parameters and tags on their way: `params.ndjson`, followed like a log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::limits::MAX_LINE_BYTES;
use crate::paths::{FileKind, Stream};

type Object = BTreeMap<String, Box<RawValue>>;

/// What the file says that was not delivered yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Parameters that were not there before, in order of their keys.
    pub params: Vec<(String, String)>,
    /// Tags, the newest of each key.
    pub tags: Vec<(String, String)>,
    /// Parameters that had another value before: a destination keeps the first for ever.
    pub changed: Vec<String>,
    /// Bytes of the file that this is taken from.
    pub end: u64,
}

/// A reader of one stream's parameters.
#[derive(Debug)]
pub struct Params {
    path: PathBuf,
    offset: u64,
    /// Hashes of the first value of each key.
    known: HashMap<String, u64>,
    /// Values are given as JSON, and not as Python's `str`.
    as_json: bool,
}

impl Params {
    /// The parameters of `stream`.
    #[must_use]
    pub fn new(directory: &Path, stream: &Stream) -> Self {
        Self { path: FileKind::Params.path(directory, stream), offset: 0, known: HashMap::new(), as_json: false }
    }

    /// The same with values as JSON.
    #[must_use]
    pub fn as_json(self, as_json: bool) -> Self {
        Self { as_json, ..self }
    }

    /// How many parameters and tags stand behind `delivered`.
    pub fn count(mut self, delivered: u64) -> Result<(u64, u64)> {
        let (mut params, mut tags) = (0, BTreeSet::new());
        loop {
            let before = self.offset;
            match self.read(delivered)? {
                Some(news) => {
                    params += news.params.len() as u64;
                    tags.extend(news.tags.into_iter().map(|(key, _)| key));
                }
                None if self.offset == before => return Ok((params, tags.len() as u64)),
                None => {}
            }
        }
    }

    /// What the next line has that says something new; of what stands before `delivered` only the values are learnt. A line is
    /// handed over alone, so that what a destination makes of it does not depend on when it is read.
    pub fn read(&mut self, delivered: u64) -> Result<Option<News>> {
        let file = match crate::fs::open_read(&self.path) {
            Ok(file) => file,
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata().map_err(|source| Error::io("examine", &self.path, source))?.len();
        if length <= self.offset {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length - self.offset).unwrap_or(usize::MAX).min(MAX_LINE_BYTES)];
        file.read_exact_at(&mut bytes, self.offset).map_err(|source| Error::io("read", &self.path, source))?;
        let Some(last) = memchr::memrchr(b'\n', &bytes) else { return Ok(None) };
        let whole = last + 1;
        let mut news = News::default();
        let mut tags = BTreeMap::new();
        for line in bytes[..whole].split_inclusive(|&byte| byte == b'\n') {
            self.offset += line.len() as u64;
            let is_new = self.offset > delivered;
            let Ok(record) = serde_json::from_slice::<Object>(line) else { continue };
            let mut flat = BTreeMap::new();
            for (part, prefix) in [("derived", "derived/"), ("config", "")] {
                let object = record.get(part).and_then(|raw| serde_json::from_str::<Object>(raw.get()).ok());
                flatten(prefix, &object.unwrap_or_default(), self.as_json, &mut flat);
            }
            for (key, value) in flat {
                let hash = xxh3_64(value.as_bytes());
                match self.known.get(&key) {
                    Some(&known) if known == hash => {}
                    Some(_) if is_new => news.changed.push(key),
                    Some(_) => {}
                    None => {
                        self.known.insert(key.clone(), hash);
                        if is_new {
                            news.params.push((key, value));
                        }
                    }
                }
            }
            if is_new {
                tags.extend(tags_of(&record, self.as_json));
            }
            if !news.params.is_empty() || !news.changed.is_empty() || !tags.is_empty() {
                break;
            }
        }
        news.tags = tags.into_iter().collect();
        news.end = self.offset;
        Ok((self.offset > delivered).then_some(news))
    }
}

/// The user's tags in a record.
fn tags_of(record: &Object, as_json: bool) -> BTreeMap<String, String> {
    let object = |raw: &RawValue| serde_json::from_str::<Object>(raw.get()).ok();
    let metadata = record.get("metadata").and_then(|raw| object(raw));
    let tags = metadata.as_ref().and_then(|metadata| metadata.get("tags")).and_then(|raw| object(raw));
    tags.unwrap_or_default().into_iter().map(|(key, value)| (key, value_of(&value, as_json))).collect()
}

/// Nested keys joined by `/`; a list is one value.
fn flatten(prefix: &str, object: &Object, as_json: bool, flat: &mut BTreeMap<String, String>) {
    for (key, value) in object {
        let path = format!("{prefix}{key}");
        match serde_json::from_str::<Object>(value.get()) {
            Ok(inner) if !inner.is_empty() => flatten(&format!("{path}/"), &inner, as_json, flat),
            _ => {
                flat.insert(path, value_of(value, as_json));
            }
        }
    }
}

/// A value in the form that was asked for.
fn value_of(value: &RawValue, as_json: bool) -> String {
    if as_json { value.get().to_owned() } else { text(value) }
}

/// A value as text: what Python's `str` gives for a number, a truth value, a text or None; JSON for the rest.
fn text(value: &RawValue) -> String {
    match value.get() {
        "true" => "True".to_owned(),
        "false" => "False".to_owned(),
        "null" => "None".to_owned(),
        json => serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn parameters_are_flat_texts_that_are_new_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("params.ndjson");
        let mut params = Params::new(folder.path(), &Stream::main());
        assert_eq!(params.read(0).unwrap(), None);
        let first = concat!(
            r#"{"run_id":"r","cli":{"argv":["x"]},"config":{"lr":1e-05,"big":123456789012345678901234567890,"#,
            r#""opt":{"name":"a\"b","betas":[0.9, 1],"none":null,"empty":{}},"on":true},"derived":{"seed":1},"#,
            r#""metadata":{"name":"n","tags":{"team":"x","n":1}}}"#,
            "\n"
        );
        let second = "{\"config\":{\"lr\":0.1,\"more\":2},\"metadata\":{\"tags\":{\"n\":2}}}\n";
        std::fs::write(&path, format!("{first}no record\n{{\"torn")).unwrap();
        let news = params.read(0).unwrap().unwrap();
        let expected = [
            ("big", "123456789012345678901234567890"),
            ("derived/seed", "1"),
            ("lr", "1e-05"),
            ("on", "True"),
            ("opt/betas", "[0.9, 1]"),
            ("opt/empty", "{}"),
            ("opt/name", "a\"b"),
            ("opt/none", "None"),
        ];
        assert_eq!((news.params, news.tags), (pairs(&expected), pairs(&[("n", "1"), ("team", "x")])));
        assert_eq!((news.end, news.changed.len()), (first.len() as u64, 0));
        assert_eq!(
            params.read(0).unwrap(),
            Some(News { end: first.len() as u64 + 10, ..News::default() }),
            "no record"
        );
        assert_eq!(params.read(0).unwrap(), None, "a torn line is waited for");
        std::fs::write(&path, first).unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(second.as_bytes()).unwrap();

        assert_eq!(Params::new(folder.path(), &Stream::main()).count(0).unwrap(), (9, 2));
        assert_eq!(Params::new(folder.path(), &Stream::main()).count(first.len() as u64).unwrap(), (1, 1));
        let mut resumed = Params::new(folder.path(), &Stream::main());
        let news = resumed.read(first.len() as u64).unwrap().unwrap();
        assert_eq!((news.params, news.tags), (pairs(&[("more", "2")]), pairs(&[("n", "2")])));
        assert_eq!(news.changed, ["lr"]);
        let mut again = Params::new(folder.path(), &Stream::main());
        assert_eq!(again.read((first.len() + second.len()) as u64).unwrap(), None);
    }
}
