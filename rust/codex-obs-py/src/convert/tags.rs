//! The `tags` argument.

use codex_obs_core::limits::MAX_PAYLOAD_BYTES;
use codex_obs_core::record::tags::RESERVED;
use codex_obs_core::record::{Damage, Tags};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::json::Writer;
use super::known_tags::KnownTags;
use super::mapping::{Pair, checked_pairs};
use super::output::Output;

static NONE: Tags = Tags { text: Vec::new(), marks: [0; 3] };

/// The tags as canonical JSON without the keys that the log sets itself. Tags of more than 1 MiB together are left out and
/// counted.
///
/// # Errors
///
/// `TypeError` for what is neither None nor a mapping, or a mapping that raises when asked for its items.
pub fn tags<'a>(tags: Option<&Bound<'_, PyAny>>, known: &'a mut KnownTags, damage: &mut Damage) -> PyResult<&'a Tags> {
    let Some(tags) = tags.filter(|tags| !tags.is_none()) else {
        return Ok(&NONE);
    };
    if !tags.cast_exact::<PyDict>().is_ok_and(|dict| known.of(dict).is_some()) {
        let out = known.forget();
        let pairs = checked_pairs(tags, "tags")?;
        let before = *damage;
        write(Some(tags), &pairs, out, damage);
        if *damage == before {
            known.keep(&pairs);
        }
    }
    Ok(known.get())
}

/// As [`tags`], for pairs that stand in no mapping. Of tags that are too long together the `first` ones are kept.
pub(super) fn of_pairs<'a>(
    pairs: &[Pair<'_>],
    first: usize,
    known: &'a mut KnownTags,
    damage: &mut Damage,
) -> &'a Tags {
    let out = known.forget();
    let before = *damage;
    if !write(None, pairs, out, damage) {
        *damage = before;
        damage.payloads_cut += 1;
        write(None, &pairs[..first], out, damage);
    }
    known.get()
}

/// Writes the object; `false` if it is too long, which counts.
fn write(tags: Option<&Bound<'_, PyAny>>, pairs: &[Pair<'_>], out: &mut Tags, damage: &mut Damage) -> bool {
    let mut writer = Writer::inside_tags(Output::new(&mut out.text, MAX_PAYLOAD_BYTES), damage);
    let mut members = writer.members(pairs);
    members.retain(|(key, _)| !RESERVED.contains(&key.as_ref()));
    if members.is_empty() {
        return true;
    }
    if let Some(tags) = tags {
        writer.open(tags);
    }
    let mut marks = [None; RESERVED.len()];
    writer.out.bytes().push(b'{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            writer.out.bytes().push(b',');
        }
        for (mark, reserved) in marks.iter_mut().zip(RESERVED) {
            if mark.is_none() && key.as_ref() > reserved {
                *mark = Some(writer.out.total() as u32);
            }
        }
        writer.out.string(key);
        writer.out.bytes().push(b':');
        writer.node(value);
    }
    let end = writer.out.total() as u32;
    writer.out.bytes().push(b'}');
    if writer.out.finish().is_some() {
        damage.payloads_cut += 1;
        out.clear();
        return false;
    }
    out.marks = marks.map(|mark| mark.unwrap_or(end));
    true
}
