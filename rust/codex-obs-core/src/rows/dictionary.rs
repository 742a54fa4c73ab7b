//! One list of distinct texts for a column that several threads filled.

use std::sync::Arc;

use arrow_array::builder::NullBufferBuilder;
use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, DictionaryArray, StringViewArray, UInt32Array};
use arrow_schema::{ArrowError, DataType};

use crate::scan::{Name, Names};

/// Distinct texts of one column.
#[derive(Debug, Default)]
pub struct Dictionary(Names);

impl Dictionary {
    /// Type of the columns.
    #[must_use]
    pub fn data_type() -> DataType {
        DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8View))
    }

    /// The number of `text`.
    pub fn number(&mut self, text: &str) -> u32 {
        // Number 0 of the names stands for none, which a column says in another way.
        self.0.number(text).0 - 1
    }

    /// Replaces a thread's numbers by this dictionary's. `known` remembers which stand for which; it is the thread's own.
    pub fn translate(&mut self, column: &[Name], names: &Names, known: &mut Vec<Option<u32>>) -> UInt32Array {
        known.resize(names.texts().len(), None);
        let number = |&name: &Name| match name {
            Name::NONE => 0,
            name => *known[name.0 as usize].get_or_insert_with(|| self.number(names.text(name))),
        };
        let keys: Vec<u32> = column.iter().map(number).collect();
        let mut are_texts = NullBufferBuilder::new(column.len());
        for &name in column {
            are_texts.append(name != Name::NONE);
        }
        UInt32Array::new(keys.into(), are_texts.finish())
    }

    /// The texts as an array.
    #[must_use]
    pub fn texts(&self) -> ArrayRef {
        Arc::new(self.0.texts().skip(1).map(Some).collect::<StringViewArray>())
    }
}

/// A column of `keys` into `texts`.
pub fn column(keys: UInt32Array, texts: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys, Arc::clone(texts))?))
}
