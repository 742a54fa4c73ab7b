//! JSON text that is too long, made to fit: what is long is cut alone, and the rest stays as it is.

use std::fmt::Write as _;
use std::ops::Range;

use crate::limits::MAX_TEXT_BYTES;

/// What a long value is cut to. Where that does not help, because there are very many values, it is less.
const LENGTHS: [usize; 4] = [MAX_TEXT_BYTES, 1024, 256, 64];
/// Paths that are named; the others are counted.
const MAX_PATHS: usize = 5;
/// Bytes of a path that are shown.
const MAX_PATH_BYTES: usize = 200;

/// What was cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Where the first ones stand, such as `model.layers[3]`. What stands at the top has an empty path.
    pub paths: Vec<String>,
    /// Number of all of them.
    pub count: u64,
}

impl Cuts {
    fn note(&mut self, path: &str) {
        self.count += 1;
        if self.paths.len() < MAX_PATHS {
            self.paths.push(path[..path.floor_char_boundary(MAX_PATH_BYTES)].to_owned());
        }
    }
}

/// Cuts canonical JSON text to at most `most` bytes, of which there are at least 4.
///
/// The longest values are cut first, and only as many as need be: a text keeps its beginning, a list its first elements, an
/// object all its members, or its first ones if their keys alone are too much; a number with too many digits becomes null. The
/// result is JSON of the same kind. `short` tells where lists and objects begin of which some was left out
/// before; they are noted as cut.
///
/// # Examples
///
/// ```
/// use codex_obs_core::encode::trim::{Cuts, trim};
///
/// let mut json = format!(r#"{{"lr":1,"text":"{}"}}"#, "y".repeat(10_000)).into_bytes();
/// let mut cuts = Cuts::default();
/// trim(&mut json, 5000, &[], &mut cuts);
/// assert_eq!(json, format!(r#"{{"lr":1,"text":"{}"}}"#, "y".repeat(4094)).into_bytes());
/// assert_eq!(cuts, Cuts { paths: vec!["text".to_owned()], count: 1 });
/// ```
pub fn trim(json: &mut Vec<u8>, most: usize, short: &[usize], cuts: &mut Cuts) {
    if json.len() <= most {
        return;
    }
    let mut trimmer = Trimmer { json, short, path: String::new(), out: Vec::with_capacity(most), cuts };
    trimmer.fit(0..json.len(), most);
    *json = trimmer.out;
}

/// Where the members of the object `json` begin.
#[must_use]
pub fn member_offsets(json: &[u8]) -> Vec<usize> {
    if json.len() < 2 {
        Vec::new()
    } else {
        children(json, &(0..json.len())).iter().map(|child| child.key.start).collect()
    }
}

struct Trimmer<'a> {
    json: &'a [u8],
    short: &'a [usize],
    path: String,
    out: Vec<u8>,
    cuts: &'a mut Cuts,
}

/// A member of an object, or an element of a list, whose key is empty.
struct Child {
    key: Range<usize>,
    value: Range<usize>,
}

impl Child {
    /// Bytes beside the value, with the comma behind it.
    fn frame(&self) -> usize {
        if self.key.is_empty() { 1 } else { self.key.len() + 2 }
    }
}

impl Trimmer<'_> {
    fn fit(&mut self, node: Range<usize>, most: usize) {
        if node.len() <= most {
            self.out.extend_from_slice(&self.json[node]);
            return;
        }
        match self.json[node.start] {
            b'"' => {
                self.cuts.note(&self.path);
                let kept = beginning(&self.json[node], most.min(MAX_TEXT_BYTES));
                self.out.extend_from_slice(kept);
                self.out.push(b'"');
            }
            b'[' | b'{' => self.fit_inside(node, most),
            _ => {
                self.cuts.note(&self.path);
                self.out.extend_from_slice(b"null");
            }
        }
    }

    fn fit_inside(&mut self, node: Range<usize>, most: usize) {
        let was_short = self.short.contains(&node.start);
        if was_short {
            self.cuts.note(&self.path);
        }
        let children = children(self.json, &node);
        let opening = self.json[node.start];
        let lengths = if opening == b'{' { &LENGTHS[..] } else { &LENGTHS[..1] };
        let Some(shares) = self.shares(&children, node.len() - most, lengths) else {
            if !was_short {
                self.cuts.note(&self.path);
            }
            return self.fit_first(&children, opening, most);
        };
        self.out.push(opening);
        for (index, (child, share)) in children.iter().zip(shares).enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.child(child, index, share);
        }
        self.out.push(opening + 2); // `]` and `}` come two after `[` and `{`
    }

    /// How long each child may be, so that there are `excess` bytes less; `None` if that does not do.
    fn shares(&self, children: &[Child], mut excess: usize, lengths: &[usize]) -> Option<Vec<usize>> {
        let mut shares: Vec<_> = children.iter().map(|child| child.value.len()).collect();
        let mut longest: Vec<_> = (0..shares.len()).collect();
        longest.sort_by_key(|&index| std::cmp::Reverse(shares[index]));
        for &length in lengths {
            for &index in &longest {
                // Nothing is cut for a few bytes.
                if shares[index] <= length + length / 8 {
                    continue;
                }
                let is_container = matches!(self.json[children[index].value.start], b'[' | b'{');
                // Of a text nobody wants to read more; of a container only what is too much goes.
                let share = if is_container { shares[index].saturating_sub(excess).max(length) } else { length };
                excess = excess.saturating_sub(shares[index] - share);
                shares[index] = share;
                if excess == 0 {
                    return Some(shares);
                }
            }
        }
        None
    }

    /// As many of the first children as there is room for.
    fn fit_first(&mut self, children: &[Child], opening: u8, most: usize) {
        let (count, paths) = (self.cuts.count, self.cuts.paths.len());
        let length = LENGTHS[if opening == b'{' { LENGTHS.len() - 1 } else { 0 }];
        self.out.push(opening);
        let mut room = most - 2;
        for (index, child) in children.iter().enumerate() {
            let share = child.value.len().min(length);
            let Some(rest) = room.checked_sub(child.frame() + share) else { break };
            room = rest;
            if index > 0 {
                self.out.push(b',');
            }
            self.child(child, index, share);
        }
        self.out.push(opening + 2);
        // It is noted as a whole.
        self.cuts.count = count;
        self.cuts.paths.truncate(paths);
    }

    fn child(&mut self, child: &Child, index: usize, share: usize) {
        let parent = self.path.len();
        if child.key.is_empty() {
            let _ = write!(self.path, "[{index}]");
        } else {
            self.out.extend_from_slice(&self.json[child.key.clone()]);
            self.out.push(b':');
            let dot = if parent == 0 { "" } else { "." };
            let key = String::from_utf8_lossy(&self.json[child.key.start + 1..child.key.end - 1]);
            let _ = write!(self.path, "{dot}{key}");
        }
        self.fit(child.value.clone(), share);
        self.path.truncate(parent);
    }
}

/// The text `json` without its closing quote, cut to less than `most` bytes, inside no escape and no character.
fn beginning(json: &[u8], most: usize) -> &[u8] {
    let mut kept = 1;
    loop {
        let length = match json.get(kept..) {
            Some([b'\\', b'u', b'd', b'8'..=b'b', ..]) => 12, // a pair of surrogates is one character
            Some([b'\\', b'u', ..]) => 6,
            Some([b'\\', ..]) => 2,
            Some(rest) => 1 + rest.iter().skip(1).take_while(|&&byte| byte & 0xc0 == 0x80).count(),
            None => 1,
        };
        if kept + length >= most.min(json.len()) {
            return &json[..kept];
        }
        kept += length;
    }
}

/// Where each member or element of the container at `node` stands.
fn children(json: &[u8], node: &Range<usize>) -> Vec<Child> {
    let is_object = json[node.start] == b'{';
    let mut children = Vec::new();
    let mut at = node.start + 1;
    while at < node.end - 1 {
        let key = at..if is_object { end(json, at) } else { at };
        let start = if is_object { key.end + 1 } else { at };
        let value = start..end(json, start);
        at = value.end + 1;
        children.push(Child { key, value });
    }
    children
}

/// Where the value that begins at `start` ends.
fn end(json: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => at = text_end(json, at) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            return at;
        }
    }
    at
}

fn text_end(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', json.get(at..).unwrap_or_default()) {
        at += found;
        if json[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn trimmed(value: &Value, most: usize) -> (Value, Cuts) {
        let mut json = serde_json::to_vec(value).unwrap();
        let mut cuts = Cuts::default();
        trim(&mut json, most, &[], &mut cuts);
        assert!(json.len() <= most);
        (serde_json::from_slice(&json).unwrap(), cuts)
    }

    fn cuts(paths: &[&str], count: u64) -> Cuts {
        Cuts { paths: paths.iter().map(|&path| path.to_owned()).collect(), count }
    }

    #[test]
    fn only_the_longest_value_is_cut_wherever_it_stands() {
        let long = "y".repeat(9000);
        let kept = "y".repeat(4094);
        assert_eq!(
            trimmed(&json!({"a": {"b": [1, {"text": long, "x": 1}], "c": "y".repeat(4500)}, "lr": 1}), 9500),
            (
                json!({"a": {"b": [1, {"text": kept, "x": 1}], "c": "y".repeat(4500)}, "lr": 1}),
                cuts(&["a.b[1].text"], 1)
            )
        );
        assert_eq!(trimmed(&json!([long, 7]), 5000), (json!([kept, 7]), cuts(&["[0]"], 1)));
        assert_eq!(trimmed(&json!(long), 5000), (json!(kept), cuts(&[""], 1)));
    }

    #[test]
    fn a_long_list_keeps_its_first_elements() {
        let list: Vec<_> = (100..2000).collect();
        let (kept, noted) = trimmed(&json!({"a": list, "z": true}), 5000);
        let kept_list = kept["a"].as_array().unwrap();
        assert!(kept_list.len() > 900);
        assert_eq!(kept_list[..], json!(list).as_array().unwrap()[..kept_list.len()]);
        assert_eq!((&kept["z"], noted), (&json!(true), cuts(&["a"], 1)));
    }

    #[test]
    fn many_values_of_middle_length_are_cut_as_far_as_need_be() {
        let object =
            |length| Value::Object((0..1000).map(|i| (format!("k{i:03}"), json!("x".repeat(length)))).collect());
        let (kept, noted) = trimmed(&object(5000), 1 << 20);
        let lengths: Vec<_> = kept.as_object().unwrap().values().map(|text| text.as_str().unwrap().len()).collect();
        assert_eq!((lengths.len(), lengths.iter().min()), (1000, Some(&1022)));
        assert_eq!((noted.count, noted.paths.len()), (1000, 5));
        let (few, noted) = trimmed(&object(1100), 1 << 20);
        assert_eq!(few.as_object().unwrap().len(), 1000);
        assert!(few.to_string().len() <= 1 << 20, "{} bytes are left", few.to_string().len());
        assert!((1..200).contains(&noted.count), "{} were cut, and the others fit", noted.count);
    }

    #[test]
    fn of_too_many_keys_the_first_ones_stay() {
        let object = Value::Object((0..1000).map(|i| (format!("{i:04}{}", "k".repeat(100)), json!(i))).collect());
        let (kept, noted) = trimmed(&object, 20_000);
        assert!(kept.as_object().unwrap().len() > 150);
        assert_eq!(noted, cuts(&[""], 1));
    }

    #[test]
    fn no_escape_and_no_character_is_cut() {
        for escape in ["\\u00e9", "\\ud83d\\ude00", "\\n", "\\\\", "\u{e9}", "\u{20ac}", "\u{1f600}"] {
            for most in 20..50 {
                let mut json = format!("\"{}\"", escape.repeat(100)).into_bytes();
                trim(&mut json, most, &[], &mut Cuts::default());
                let text: String = serde_json::from_slice(&json).unwrap();
                assert!(json.len() <= most && json.len() + escape.len() >= most, "{escape} {most}");
                assert!(!text.is_empty());
            }
        }
    }

    #[test]
    fn a_container_that_was_short_before_is_noted() {
        let mut json = serde_json::to_vec(&json!({"a": ["x".repeat(6000), 1]})).unwrap();
        let mut noted = Cuts::default();
        trim(&mut json, 5000, &[5], &mut noted);
        assert_eq!(noted, cuts(&["a", "a[0]"], 2));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\\\\\"\u{e9}\u{1f600}\n]{0,40}".prop_map(Value::from),
            (0usize..3000).prop_map(|length| Value::from("x".repeat(length))),
        ];
        leaf.prop_recursive(4, 60, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map("[a-z\"\\\\]{0,6}", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_cut_fits_and_is_json_of_its_kind(value in values(), most in 64usize..4000) {
            let whole = serde_json::to_vec(&value).unwrap().len();
            let (kept, noted) = trimmed(&value, most);
            prop_assert_eq!(noted.count > 0, whole > most);
            prop_assert_eq!(std::mem::discriminant(&kept), std::mem::discriminant(&value));
            if whole <= most {
                prop_assert_eq!(kept, value);
            }
        }
    }
}
