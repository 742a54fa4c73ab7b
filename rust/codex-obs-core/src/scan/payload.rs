//! Lines of the manifest: the structured values that rows refer to.

use super::faults::{Fault, Faults};
use super::field::{self, Field, Held};
use super::json::{Cursor, Token};
use super::lines::Piece;
use super::names::{Name, Names};
use super::reader::{LineReader, Lines, Parsed, is_blank};
use super::row::Refusal;

/// One structured value. The texts that have few distinct values in a run are numbers of the thread's [`Names`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Payload<'a> {
    /// Microseconds since the epoch.
    pub timestamp: Option<i64>,
    /// The run.
    pub run_id: Name,
    /// What its row calls it.
    pub manifest_id: &'a str,
    /// The metric.
    pub metric: Name,
    /// The step.
    pub step: Option<i64>,
    /// The split.
    pub split: Name,
    /// The dataset.
    pub dataset: Name,
    /// Name of the value's class.
    pub class: Name,
    /// Its shape as JSON.
    pub shape: Option<&'a str>,
    /// The value as JSON, as it stands in the file; none if it was too long to be kept.
    pub payload: Option<&'a str>,
    /// Where it lies, if it says so.
    pub path: Option<&'a str>,
    /// How many bytes of a value that was too long were not kept.
    pub truncated_bytes: Option<i64>,
    /// Version of the descriptor.
    pub version: Name,
    /// What could not be read as it stands.
    pub faults: Faults,
}

impl Parsed for Payload<'_> {
    fn step(&self) -> Option<i64> {
        self.step
    }

    fn faults(&self) -> Faults {
        self.faults
    }
}

/// Reads the lines of a manifest.
#[derive(Debug, Default)]
pub struct PayloadReader {
    names: Names,
    scratch: String,
    manifest_id: String,
    path: String,
}

impl LineReader for PayloadReader {
    type Row<'a> = Payload<'a>;

    fn read(
        &mut self,
        piece: Piece<'_>,
        lines: &mut Lines,
        mut row: impl FnMut(&Payload<'_>, &Names, u64),
        mut refuse: impl FnMut(Refusal, u64),
    ) {
        let (bytes, is_whole) = match piece {
            Piece::Lines(bytes) => (bytes.strip_suffix(b"\n").unwrap_or(bytes), true),
            Piece::Unfinished(line) => (line, false),
            Piece::TooLong => {
                refuse(Refusal::TooLong, lines.total);
                lines.total += 1;
                return;
            }
        };
        for line in bytes.split(|&byte| byte == b'\n') {
            if is_blank(line) {
                lines.blank += 1;
            } else {
                match self.parse(line) {
                    Ok((payload, names)) => row(&payload, names, lines.total),
                    Err(Refusal::Syntax | Refusal::Encoding) if !is_whole => refuse(Refusal::Torn, lines.total),
                    Err(refusal) => refuse(refusal, lines.total),
                }
            }
            lines.total += 1;
        }
    }

    fn names(&self) -> &Names {
        &self.names
    }

    fn into_names(self) -> Names {
        self.names
    }
}

impl PayloadReader {
    fn parse<'a>(&'a mut self, line: &'a [u8]) -> Result<(Payload<'a>, &'a Names), Refusal> {
        let line = std::str::from_utf8(line).map_err(|_| Refusal::Encoding)?;
        let Self { names, scratch, manifest_id, path } = self;
        let (mut id, mut descriptor) = (None, None);
        let mut payload = Payload {
            timestamp: None,
            run_id: Name::NONE,
            manifest_id: "",
            metric: Name::NONE,
            step: None,
            split: Name::NONE,
            dataset: Name::NONE,
            class: Name::NONE,
            shape: None,
            payload: None,
            path: None,
            truncated_bytes: None,
            version: Name::NONE,
            faults: Faults::NONE,
        };
        let mut cursor = Cursor::new(line);
        cursor.skip_space();
        if !cursor.take(b'{') {
            cursor.value().map_err(|_| Refusal::Syntax)?;
            cursor.skip_space();
            return Err(if cursor.peek().is_none() { Refusal::Kind } else { Refusal::Syntax });
        }
        let faults = &mut payload.faults;
        let read = cursor.members(None, |key, token, _| match field::plain(key, &mut String::new()) {
            "timestamp" => payload.timestamp = take(Field::Timestamp, field::time(token, scratch), faults),
            "step" => payload.step = take(Field::Step, field::step(token, scratch), faults),
            "run_id" => payload.run_id = named(Field::RunId, token, names, scratch, faults),
            "metric" => payload.metric = named(Field::Metric, token, names, scratch, faults),
            "split" => payload.split = named(Field::Split, token, names, scratch, faults),
            "dataset" => payload.dataset = named(Field::Dataset, token, names, scratch, faults),
            "manifest_id" => id = Some(token),
            "descriptor" => descriptor = Some(token),
            _ => {}
        });
        read.map_err(|_| Refusal::Syntax)?;
        cursor.skip_space();
        if cursor.peek().is_some() {
            return Err(Refusal::Syntax);
        }
        let Some(Token::Text(id)) = id else { return Err(Refusal::ManifestId) };
        let Some(Token::Object(descriptor)) = descriptor else { return Err(Refusal::Descriptor) };
        payload.manifest_id = field::plain(id, manifest_id);
        let mut given_path = None;
        let mut cursor = Cursor::new(descriptor);
        cursor.take(b'{');
        // The object was read once, so it can be read again.
        let _ = cursor.members(None, |key, token, range| {
            let json = || Some(&descriptor[range.clone()]).filter(|_| token != Token::Null);
            match field::plain(key, &mut String::new()) {
                "payload" => payload.payload = json(),
                "shape" => payload.shape = json(),
                "path" => given_path = Some(token),
                "truncated_bytes" => payload.truncated_bytes = held(field::step(token, scratch)),
                "type" => payload.class = held(field::name(token, names, scratch)).unwrap_or_default(),
                "version" => payload.version = held(field::name(token, names, scratch)).unwrap_or_default(),
                _ => {}
            }
        });
        if let Some(Token::Text(given)) = given_path {
            payload.path = Some(field::plain(given, path));
        }
        Ok((payload, names))
    }
}

fn named(field: Field, token: Token<'_>, names: &mut Names, scratch: &mut String, faults: &mut Faults) -> Name {
    take(field, field::name(token, names, scratch), faults).unwrap_or_default()
}

/// The value of a field, and a fault where there is one.
fn take<T>(field: Field, found: Held<T>, faults: &mut Faults) -> Option<T> {
    faults.set(Fault::Unreadable(field), matches!(found, Held::Unreadable));
    faults.set(Fault::Cut(field), matches!(found, Held::Something(_, true)));
    held(found)
}

fn held<T>(found: Held<T>) -> Option<T> {
    match found {
        Held::Something(value, _) => Some(value),
        Held::Null | Held::Unreadable => None,
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
