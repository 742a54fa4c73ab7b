//! What of a row could not be read as it stands. The row counts all the same; readers count and name these.

use super::field::{FIELDS, Field};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A field that is there, but of a wrong type or form. It counts as missing.
    Unreadable(Field),
    /// A text longer than any that the writer keeps, cut at a character as the writer does. Of tags: of one that is read.
    Cut(Field),
    /// There is no `value`, not even null.
    NoValue,
}

/// Those of a row, in one number, because every row has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults(u32);

const NO_VALUE: usize = 2 * FIELDS;

impl Fault {
    const fn bit(self) -> u32 {
        1 << match self {
            Self::Unreadable(field) => field as usize,
            Self::Cut(field) => FIELDS + field as usize,
            Self::NoValue => NO_VALUE,
        }
    }

    /// The fault in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Unreadable(field) => field.unreadable(),
            Self::Cut(Field::RunId) => "\"run_id\" is longer than 4 KiB and was cut",
            Self::Cut(Field::Split) => "\"split\" is longer than 4 KiB and was cut",
            Self::Cut(Field::Dataset) => "\"dataset\" is longer than 4 KiB and was cut",
            Self::Cut(Field::Tags) => "a text in \"tags\" is longer than 4 KiB and was cut",
            Self::Cut(_) => "the metric's name is longer than 4 KiB and was cut",
            Self::NoValue => "no \"value\"",
        }
    }
}

impl Faults {
    /// None.
    pub const NONE: Self = Self(0);

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `fault` is one of them.
    #[must_use]
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & fault.bit() != 0
    }

    /// Adds `fault` where `is_there`, else takes it away.
    #[inline]
    pub fn set(&mut self, fault: Fault, is_there: bool) {
        self.0 = self.0 & !fault.bit() | if is_there { fault.bit() } else { 0 };
    }

    /// Each of them, in the order of the fields.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        let fields = Field::ALL.into_iter();
        let all = fields.flat_map(|field| [Fault::Unreadable(field), Fault::Cut(field)]).chain([Fault::NoValue]);
        all.filter(move |&fault| self.has(fault))
    }
}
