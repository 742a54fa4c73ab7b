//! What a line says, and the general way to read it: any JSON object, its keys in any order.

use super::faults::{Fault, Faults};
use super::field::{self, FIELDS, Held};
pub use super::field::{Field, Value};
use super::json::{Cursor, Token};
use super::names::{Name, Names};
use super::tags::{Tags, read_tags};
use crate::limits::MAX_SHAPE_MEMBERS;

/// The one key whose value may be `NaN` or infinite.
const VALUE_KEY: &str = "value";

/// One row. The texts that have few distinct values in a run are numbers of the thread's [`Names`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// Microseconds since the epoch.
    pub timestamp: Option<i64>,
    /// The run.
    pub run_id: Name,
    /// The step.
    pub step: Option<i64>,
    /// The split.
    pub split: Name,
    /// The metric.
    pub metric: Name,
    /// The value.
    pub value: Value,
    /// The dataset.
    pub dataset: Name,
    /// Some of the tags.
    pub tags: Tags<'a>,
    /// What could not be read as it stands.
    pub faults: Faults,
    /// Whether it has the legacy form, in which structured values stand where others have their number.
    pub legacy: bool,
}

impl Default for Row<'_> {
    fn default() -> Self {
        Self {
            timestamp: None,
            run_id: Name::NONE,
            step: None,
            split: Name::NONE,
            metric: Name::NONE,
            value: Value::None,
            dataset: Name::NONE,
            tags: Tags::NONE,
            faults: Faults::NONE,
            legacy: false,
        }
    }
}

impl Row<'_> {
    /// The row without its tags, which needs the line no more.
    #[must_use]
    pub fn without_tags(&self) -> Row<'static> {
        let Self { timestamp, run_id, step, split, metric, value, dataset, tags: _, faults, legacy } = *self;
        Row { timestamp, run_id, step, split, metric, value, dataset, tags: Tags::NONE, faults, legacy }
    }

    /// Takes one field from what stands for it in another line. `None` if the line must be looked at as a whole: a metric
    /// that is no text may be replaced by another field.
    #[inline]
    pub fn set(&mut self, field: Field, token: Token<'_>, names: &mut Names, scratch: &mut String) -> Option<()> {
        match field {
            Field::Timestamp => self.timestamp = self.take(field, field::time(token, scratch)),
            Field::RunId => self.run_id = self.take(field, field::name(token, names, scratch)).unwrap_or_default(),
            Field::Step => self.step = self.take(field, field::step(token, scratch)),
            Field::Split => self.split = self.take(field, field::name(token, names, scratch)).unwrap_or_default(),
            Field::Value => {
                self.value = self.take(field, field::value(token, self.legacy)).unwrap_or(Value::None);
            }
            Field::Dataset => self.dataset = self.take(field, field::name(token, names, scratch)).unwrap_or_default(),
            Field::Metric | Field::Key => {
                let Token::Text(text) = token else { return None };
                let (text, cut) = field::bounded(text, scratch);
                self.metric = names.number_after(self.metric, text);
                self.faults.set(Fault::Cut(field), cut);
            }
            Field::Tags => self.faults.set(Fault::Unreadable(field), !matches!(token, Token::Object(_) | Token::Null)),
            Field::Schema => {}
        }
        Some(())
    }

    /// The value of a field, and a fault where there is one.
    #[inline]
    fn take<T>(&mut self, field: Field, held: Held<T>) -> Option<T> {
        self.faults.set(Fault::Unreadable(field), matches!(held, Held::Unreadable));
        self.faults.set(Fault::Cut(field), matches!(held, Held::Something(_, true)));
        match held {
            Held::Something(value, _) => Some(value),
            Held::Null | Held::Unreadable => None,
        }
    }
}

/// Why a line is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not UTF-8.
    Encoding,
    /// Not JSON.
    Syntax,
    /// JSON, but no object.
    Kind,
    /// No text `metric`, nor `key`.
    Metric,
    /// No text `manifest_id`.
    ManifestId,
    /// No object `descriptor`.
    Descriptor,
    /// The file ends within the line.
    Torn,
    /// Longer than any row.
    TooLong,
    /// The rest of a compressed file cannot be read.
    Archive,
    /// A compressed file that takes too much memory.
    Window,
    /// The name leads to a folder, a pipe or a device.
    NoFile,
}

impl Refusal {
    /// The reason in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Encoding => "not UTF-8",
            Self::Syntax => "not JSON",
            Self::Kind => "not a JSON object",
            Self::Metric => "no text \"metric\"",
            Self::ManifestId => "no text \"manifest_id\"",
            Self::Descriptor => "no object \"descriptor\"",
            Self::Torn => "cut off at the end of the file",
            Self::TooLong => "longer than 64 MiB",
            Self::Archive => "the rest of the compressed file is damaged",
            Self::Window => "decompressing it takes more than 64 MiB of memory; decompress it with zstd --long=31",
            Self::NoFile => "not a regular file",
        }
    }
}

/// What is kept from line to line so that its memory is reused.
#[derive(Debug, Default)]
pub struct Scratch {
    texts: [String; 3],
    name: String,
}

/// Where the value of a top-level member stands in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its field, unless it is none of ours.
    pub field: Option<Field>,
    /// First byte of the value.
    pub start: usize,
    /// The byte behind it.
    pub end: usize,
}

/// Reads one line without its newline. `members` are then those of the line, no more than one too many for a shape.
pub fn parse<'a>(
    line: &'a str,
    names: &mut Names,
    scratch: &'a mut Scratch,
    members: &mut Vec<Member>,
) -> Result<Row<'a>, Refusal> {
    let Scratch { texts, name } = scratch;
    let fields = fields(line, members)?;
    let given = |field: Field| fields[field as usize];
    let by_key = !matches!(given(Field::Metric), Some(Token::Text(_)));
    let named_by = if by_key { Field::Key } else { Field::Metric };
    let Some(metric @ Token::Text(_)) = given(named_by) else { return Err(Refusal::Metric) };
    let is_ours = by_key || given(Field::Schema).is_some();
    let mut row =
        Row { legacy: is_ours && given(Field::Timestamp).is_none() && given(Field::RunId).is_none(), ..Row::default() };
    let mut set = |field: Field, token| row.set(field, token, names, name);
    set(named_by, metric);
    for field in [Field::Timestamp, Field::RunId, Field::Step, Field::Split, Field::Value, Field::Dataset, Field::Tags]
    {
        if let Some(token) = given(field) {
            set(field, token);
        }
    }
    let stands_for_another = by_key && given(Field::Metric).is_some_and(|token| token != Token::Null);
    row.faults.set(Fault::Unreadable(Field::Metric), stands_for_another);
    row.faults.set(Fault::NoValue, given(Field::Value).is_none());
    if let Some(Token::Object(json)) = given(Field::Tags) {
        row.tags = read_tags(json, texts);
        row.faults.set(Fault::Cut(Field::Tags), row.tags.cut);
    }
    Ok(row)
}

/// The fields of an object that fills the line. Of repeated keys the last counts, whatever its type.
fn fields<'a>(line: &'a str, members: &mut Vec<Member>) -> Result<[Option<Token<'a>>; FIELDS], Refusal> {
    members.clear();
    let mut cursor = Cursor::new(line);
    let mut fields = [None; FIELDS];
    cursor.skip_space();
    if !cursor.take(b'{') {
        cursor.value().map_err(|_| Refusal::Syntax)?;
        cursor.skip_space();
        return Err(if cursor.peek().is_none() { Refusal::Kind } else { Refusal::Syntax });
    }
    let read = cursor.members(Some(VALUE_KEY), |key, value, range| {
        let field = Field::of(key);
        if let Some(field) = field {
            fields[field as usize] = Some(value);
        }
        if members.len() <= MAX_SHAPE_MEMBERS {
            members.push(Member { field, start: range.start, end: range.end });
        }
    });
    read.map_err(|_| Refusal::Syntax)?;
    cursor.skip_space();
    if cursor.peek().is_some() { Err(Refusal::Syntax) } else { Ok(fields) }
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
