//! Any Python object as canonical JSON: what `json.dumps(…, ensure_ascii=True, separators=(",", ":"))` gives for sorted
//! keys, extended to what `json` refuses.
//!
//! | object | JSON |
//! |---|---|
//! | None, booleans, texts, finite floats, ints (also of `NumPy`, enums, scalars of frameworks) | as `json.dumps`, every digit |
//! | NaN and infinities | `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | mappings and other objects with members (`object.rs`) | keys as `json.dumps` makes them (bytes: base64, others: `str()`), sorted by code point; of two equal keys the last |
//! | lists, tuples, other sequences | lists |
//! | sets | lists in the order of the elements' JSON |
//! | data frames and series (`frame.rs`) | objects with their columns, index or name, and data |
//! | arrays and tensors | nested lists; without axes: a number; dates and durations as text |
//! | bytes, bytearray, memoryview | base64 text |
//! | what pandas has for a missing value | null |
//! | anything else | `str()` |
//!
//! Containers nested deeper than 64, containers inside themselves and what raises become null and are counted.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_obs_core::encode::number::push_f64;
use codex_obs_core::encode::trim::{Cuts, trim};
use codex_obs_core::limits::{MAX_DEPTH, MAX_TEXT_BYTES};
use codex_obs_core::record::Damage;
use codex_obs_core::record::json_string::push_json_string;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::array::{Array, Part};
use super::frame::{Frame, is_missing};
use super::integer::push_int;
use super::interrupt::swallow;
use super::key::{float_text, key_text};
use super::kind::{bytes, is_builtin, is_mapping, is_number_like, is_sequence, is_set};
use super::mapping::{Pair, pairs};
use super::object::{is_object, members};
use super::output::{MAX_COUNTED_BYTES, Mark, Output};
use super::text::{clean, shortened};

/// Bytes encoded to base64 at a time; a multiple of 3, so that the pieces fit together.
const BASE64_PIECE_BYTES: usize = 48 << 10;
/// Fewest bytes of an element in a list, with its comma.
const ELEMENT_BYTES: u64 = 2;
/// Fewest bytes of a member of an object, with its comma.
const MEMBER_BYTES: u64 = 5;
/// Elements of a sequence that are asked for one by one once it raised when it was iterated.
const MAX_BY_INDEX: usize = 1 << 16;
/// Members of one object that are read.
const MAX_MEMBERS: usize = (MAX_COUNTED_BYTES / MEMBER_BYTES) as usize;

/// Adds `value` as canonical JSON, however long it is. Never raises.
pub fn push_json(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, damage: &mut Damage) {
    let mut writer = Writer::new(Output::new(out, usize::MAX), damage);
    writer.node(value);
}

/// The members of `value` as a canonical JSON object of at most `most` bytes. Never raises; values that are too long are cut alone,
/// which is noted in `cuts` and counted, as are their keys at 4 KiB. What cannot be asked for its members gives an empty object.
pub fn object(value: &Bound<'_, PyAny>, most: usize, damage: &mut Damage, cuts: &mut Cuts) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer { cut_keys: true, ..Writer::new(Output::ample(&mut out), damage) };
    writer.node(value);
    let short = std::mem::take(&mut writer.short);
    if out.first() != Some(&b'{') {
        // It raised when asked for its members, which counted.
        return b"{}".to_vec();
    }
    let before = cuts.count;
    trim(&mut out, most, &short, cuts);
    damage.payloads_cut += cuts.count - before;
    out
}

/// Writes objects to an [`Output`].
pub(super) struct Writer<'w> {
    pub(super) out: Output<'w>,
    pub(super) damage: &'w mut Damage,
    /// Whether texts are cut at 4 KiB.
    cut_texts: bool,
    /// Whether keys are.
    cut_keys: bool,
    /// Where the containers of an ample output begin that are shorter than they should be.
    pub(super) short: Vec<usize>,
    depth: usize,
    /// Addresses of the objects being written; they are alive as long as they stand here.
    open: Vec<usize>,
}

impl<'w> Writer<'w> {
    /// A writer of payloads, parameters or configuration.
    pub(super) fn new(out: Output<'w>, damage: &'w mut Damage) -> Self {
        Self { out, damage, cut_texts: false, cut_keys: false, short: Vec::new(), depth: 0, open: Vec::new() }
    }

    /// A writer of what stands inside the tags' own object.
    pub(super) fn inside_tags(out: Output<'w>, damage: &'w mut Damage) -> Self {
        Self { cut_texts: true, cut_keys: true, depth: 1, ..Self::new(out, damage) }
    }

    /// Tells that `container` is being written by the caller.
    pub(super) fn open(&mut self, container: &Bound<'_, PyAny>) {
        self.open.push(container.as_ptr() as usize);
    }

    /// Adds `value`, or null if that raises.
    pub(super) fn node(&mut self, value: &Bound<'_, PyAny>) {
        let mark = self.out.mark();
        let (depth, open) = (self.depth, self.open.len());
        if let Err(error) = self.value(value) {
            swallow(value.py(), error);
            self.depth = depth;
            self.open.truncate(open);
            self.out.take_back(mark);
            self.short.retain(|&start| start < mark.length);
            self.null();
        }
        self.out.settle();
    }

    /// Adds `value`; what was added is useless if this raises.
    pub(super) fn value(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(text) = value.cast::<PyString>() {
            self.text(text);
        } else if value.is_none() {
            self.out.bytes().extend_from_slice(b"null");
        } else if let Ok(flag) = value.cast::<PyBool>() {
            self.out.bytes().extend_from_slice(if flag.is_true() { b"true" } else { b"false" });
        } else if let Ok(number) = value.cast::<PyInt>() {
            push_int(self.out.bytes(), number)?;
        } else if let Ok(number) = value.cast::<PyFloat>() {
            self.float(number.value());
        } else if let Ok(list) = value.cast::<PyList>() {
            self.inside(value, |this| this.elements(Some(list.len()), list.iter().map(Ok)))?;
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.inside(value, |this| this.elements(Some(tuple.len()), tuple.iter().map(Ok)))?;
        } else if let Some(bytes) = bytes(value)? {
            self.base64(&bytes);
        } else if is_mapping(value)? {
            self.inside(value, |this| {
                let pairs = pairs(value, MAX_MEMBERS, this.damage)?;
                this.mapping(&pairs);
                Ok(())
            })?;
        } else if is_set(value)? {
            self.inside(value, |this| this.set(value))?;
        } else {
            self.rare(value)?;
        }
        Ok(())
    }

    /// Adds what is none of the usual classes.
    fn rare(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if value.is_instance_of::<PyComplex>() {
            return self.shown(value);
        }
        if is_missing(value) {
            self.out.bytes().extend_from_slice(b"null");
            return Ok(());
        }
        if let Some(frame) = Frame::of(value)? {
            return self.inside(value, |this| this.frame(&frame));
        }
        if is_object(value) {
            return self.inside(value, |this| {
                // A model of one value is that value.
                match members(value, MAX_MEMBERS, this.damage)? {
                    Some(pairs) => this.mapping(&pairs),
                    None => this.shown(value)?,
                }
                Ok(())
            });
        }
        if let Some(array) = Array::of(value)? {
            return if array.shape.is_empty() { self.scalar(&array) } else { self.array(&array) };
        }
        if is_sequence(value)? {
            return self.inside(value, |this| this.sequence(value));
        }
        self.shown(value)
    }

    /// Adds the element of an array without axes.
    fn scalar(&mut self, array: &Array<'_>) -> PyResult<()> {
        if array.is_time() {
            return self.shown(&array.value);
        }
        let element = array.only_element()?;
        if element.is_none() || is_builtin(&element) {
            return self.unless_open(&array.value, |this| this.value(&element));
        }
        // No other class is looked into, since `item` of a long double gives a long double.
        if is_number_like(&element)? && !element.is_instance_of::<PyComplex>() && !array.is_complex() {
            self.float(element.extract()?);
            return Ok(());
        }
        self.shown(&element)
    }

    /// Adds a data frame or series: what its own class takes to be made again.
    fn frame(&mut self, frame: &Frame<'_>) -> PyResult<()> {
        let least = frame.data.elements().saturating_mul(ELEMENT_BYTES);
        if self.out.skip(least) {
            return Ok(());
        }
        self.out.bytes().push(b'{');
        if let Some(columns) = &frame.columns {
            self.out.bytes().extend_from_slice(b"\"columns\":");
            self.node(columns);
            self.out.bytes().push(b',');
        }
        self.out.bytes().extend_from_slice(b"\"data\":");
        match &frame.rows {
            Some(rows) => self.node(rows),
            None => self.array(&frame.data)?,
        }
        for (key, part) in [(&b",\"index\":"[..], &frame.index), (&b",\"name\":"[..], &frame.name)] {
            if let Some(part) = part {
                self.out.bytes().extend_from_slice(key);
                self.node(part);
            }
        }
        self.out.bytes().push(b'}');
        Ok(())
    }

    fn array(&mut self, array: &Array<'_>) -> PyResult<()> {
        let least = array.elements().saturating_mul(ELEMENT_BYTES);
        let memory = array.bytes().filter(|_| least > MAX_COUNTED_BYTES).unwrap_or(0);
        if self.out.skip(least.max(memory)) {
            return Ok(());
        }
        if !array.is_large() {
            return self.unless_open(&array.value, |this| this.value(&array.list()?));
        }
        self.inside(&array.value, |this| {
            let mark = this.out.mark();
            this.out.bytes().push(b'[');
            let mut is_first = true;
            for part in array.parts()? {
                if this.is_long_enough(mark) {
                    break;
                }
                match part? {
                    Part::Step(step) => {
                        this.separate(&mut is_first);
                        this.array(&step)?;
                    }
                    Part::Slice(slice) => {
                        for element in slice.list()?.try_iter()? {
                            this.separate(&mut is_first);
                            this.node(&element?);
                        }
                    }
                }
            }
            this.out.bytes().push(b']');
            Ok(())
        })
    }

    /// Whether no more needs to be added to a container that began at `mark`.
    fn is_long_enough(&mut self, mark: Mark) -> bool {
        if self.out.has_enough(mark) {
            self.short.push(mark.length);
            return true;
        }
        self.out.is_full()
    }

    /// Writes a container with `write`, or null if it is too deep or inside itself.
    fn inside(&mut self, value: &Bound<'_, PyAny>, write: impl FnOnce(&mut Self) -> PyResult<()>) -> PyResult<()> {
        if self.depth == MAX_DEPTH {
            self.null();
            return Ok(());
        }
        self.unless_open(value, |this| {
            this.depth += 1;
            write(this)?;
            this.depth -= 1;
            Ok(())
        })
    }

    /// Writes with `write`, or null if that is what is being written already.
    fn unless_open(&mut self, value: &Bound<'_, PyAny>, write: impl FnOnce(&mut Self) -> PyResult<()>) -> PyResult<()> {
        let address = value.as_ptr() as usize;
        if self.open.contains(&address) {
            self.null();
            return Ok(());
        }
        self.open.push(address);
        write(self)?;
        self.open.pop();
        Ok(())
    }

    fn elements<'py>(
        &mut self,
        length: Option<usize>,
        elements: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    ) -> PyResult<()> {
        if self.out.skip(length.unwrap_or(0) as u64 * ELEMENT_BYTES) {
            return Ok(());
        }
        let mark = self.out.mark();
        self.out.bytes().push(b'[');
        let mut is_first = true;
        for element in elements {
            if self.is_long_enough(mark) {
                break;
            }
            self.separate(&mut is_first);
            self.node(&element?);
        }
        self.out.bytes().push(b']');
        Ok(())
    }

    /// Adds a sequence of any class. An element that cannot be read costs only itself.
    fn sequence(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let length = value.len()?;
        let mut iterator = value.try_iter()?;
        let (mut by_index, mut last) = (false, length);
        let elements = (0..length).map_while(|index| {
            if !by_index {
                match iterator.next() {
                    Some(Err(error)) => {
                        swallow(value.py(), error);
                        by_index = true;
                        last = length.min(index + MAX_BY_INDEX);
                    }
                    next => return next,
                }
            }
            (index < last).then(|| value.get_item(index))
        });
        let mut nulled = 0;
        let elements = elements.map(|element| {
            Ok(element.unwrap_or_else(|error| {
                swallow(value.py(), error);
                nulled += 1;
                value.py().None().into_bound(value.py())
            }))
        });
        self.elements(Some(length), elements)?;
        self.damage.nodes_nulled += nulled;
        Ok(())
    }

    fn set(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.out.skip(value.len()? as u64 * ELEMENT_BYTES) {
            return Ok(());
        }
        // The elements stand where they will be, in no order, until their texts can be compared.
        let mark = self.out.mark();
        let mut lengths = Vec::new();
        for element in value.try_iter()? {
            let before = self.out.since(mark).len();
            self.node(&element?);
            lengths.push(self.out.since(mark).len().saturating_sub(before));
            if self.out.is_full() {
                break;
            }
        }
        if !self.out.holds(mark) {
            return Ok(());
        }
        let texts = self.out.since(mark).to_vec();
        let mut rest = texts.as_slice();
        let mut sorted: Vec<&[u8]> = lengths.iter().filter_map(|&length| rest.split_off(..length)).collect();
        sorted.sort_unstable();
        self.out.take_back(mark);
        self.out.bytes().push(b'[');
        self.out.bytes().extend_from_slice(&sorted.join(&b','));
        self.out.bytes().push(b']');
        Ok(())
    }

    fn mapping(&mut self, pairs: &[Pair<'_>]) {
        if self.out.skip(pairs.len() as u64 * MEMBER_BYTES) {
            return;
        }
        let members = self.members(pairs);
        let mark = self.out.mark();
        self.out.bytes().push(b'{');
        let mut is_first = true;
        for (key, value) in members {
            if self.out.is_full() {
                self.short.push(mark.length);
                break;
            }
            self.separate(&mut is_first);
            self.out.string(&key);
            self.out.bytes().push(b':');
            self.node(value);
        }
        self.out.bytes().push(b'}');
    }

    /// The members of an object in order; of equal keys only the last.
    pub(super) fn members<'a, 'py>(&mut self, pairs: &'a [Pair<'py>]) -> Vec<(Cow<'a, str>, &'a Bound<'py, PyAny>)> {
        let mut members: Vec<_> = pairs.iter().map(|(key, value)| (self.key(key), value)).collect();
        members.sort_by(|left, right| left.0.cmp(&right.0));
        members.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                self.damage.nodes_nulled += 1;
                earlier.1 = later.1;
            }
            same
        });
        members
    }

    fn key<'a>(&mut self, key: &'a Bound<'_, PyAny>) -> Cow<'a, str> {
        match key_text(key, self.damage) {
            Cow::Borrowed(text) if self.cut_keys => Cow::Borrowed(shortened(text, self.damage)),
            Cow::Owned(text) if self.cut_keys => Cow::Owned(shortened(&text, self.damage).to_owned()),
            text => text,
        }
    }

    fn text(&mut self, text: &Bound<'_, PyString>) {
        let text = clean(text, self.damage);
        let kept = if self.cut_texts { shortened(&text, self.damage) } else { self.out.worth(&text) };
        self.out.string(kept);
    }

    fn shown(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.text(&value.str()?);
        Ok(())
    }

    fn float(&mut self, number: f64) {
        if number.is_finite() {
            push_f64(self.out.bytes(), number);
        } else {
            push_json_string(self.out.bytes(), &float_text(number));
        }
    }

    fn base64(&mut self, bytes: &[u8]) {
        let kept = if self.cut_texts && bytes.len().div_ceil(3) * 4 > MAX_TEXT_BYTES {
            self.damage.texts_cut += 1;
            &bytes[..MAX_TEXT_BYTES / 4 * 3]
        } else {
            self.out.worth_of_bytes(bytes)
        };
        self.out.bytes().push(b'"');
        if !self.out.skip(kept.len() as u64) {
            for piece in kept.chunks(BASE64_PIECE_BYTES) {
                self.out.bytes().extend_from_slice(STANDARD.encode(piece).as_bytes());
                self.out.settle();
            }
        }
        self.out.bytes().push(b'"');
    }

    fn null(&mut self) {
        self.damage.nodes_nulled += 1;
        self.out.bytes().extend_from_slice(b"null");
    }

    fn separate(&mut self, is_first: &mut bool) {
        if !std::mem::replace(is_first, false) {
            self.out.bytes().push(b',');
        }
    }
}
