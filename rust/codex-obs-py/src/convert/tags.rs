//! The `tags` argument.

use codex_obs_core::encode::trim::{Cuts, member_offsets, trim};
use codex_obs_core::limits::MAX_PAYLOAD_BYTES;
use codex_obs_core::record::tags::RESERVED;
use codex_obs_core::record::{Damage, Tags};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::json::Writer;
use super::known_tags::KnownTags;
use super::mapping::Pair;
use super::object::checked_members;
use super::output::Output;

static NONE: Tags = Tags { text: Vec::new(), marks: [0; 3] };

/// The tags as canonical JSON without the keys that the log sets itself. Of tags of more than 1 MiB together the longest are cut
/// and counted.
///
/// # Errors
///
/// `TypeError` for what is neither None nor an object with members.
pub fn tags<'a>(tags: Option<&Bound<'_, PyAny>>, known: &'a mut KnownTags, damage: &mut Damage) -> PyResult<&'a Tags> {
    let Some(tags) = tags.filter(|tags| !tags.is_none()) else {
        return Ok(&NONE);
    };
    if !tags.cast_exact::<PyDict>().is_ok_and(|dict| known.of(dict).is_some()) {
        known.forget();
        let before = *damage;
        let pairs = checked_members(tags, "tags", damage)?;
        known.cuts = write(Some(tags), &pairs, known.forget(), damage);
        if *damage == before {
            known.keep(&pairs);
        }
    }
    Ok(known.get())
}

/// As [`tags`], for pairs that stand in no mapping.
pub(super) fn of_pairs<'a>(pairs: &[Pair<'_>], known: &'a mut KnownTags, damage: &mut Damage) -> &'a Tags {
    known.cuts = write(None, pairs, known.forget(), damage);
    known.get()
}

/// Writes the object and gives what had to be cut.
fn write(tags: Option<&Bound<'_, PyAny>>, pairs: &[Pair<'_>], out: &mut Tags, damage: &mut Damage) -> Cuts {
    let before = *damage;
    let mut marks = [None; RESERVED.len()];
    let end = |text: &[u8]| text.len().saturating_sub(1) as u32;
    if members(tags, pairs, Output::new(&mut out.text, MAX_PAYLOAD_BYTES), damage, &mut marks).is_some() {
        out.marks = marks.map(|mark| mark.map_or(end(&out.text), |mark| mark.offset));
        return Cuts::default();
    }
    *damage = before;
    out.text.clear();
    marks = [None; RESERVED.len()];
    let short = members(tags, pairs, Output::ample(&mut out.text), damage, &mut marks).unwrap_or_default();
    let mut cuts = Cuts::default();
    trim(&mut out.text, MAX_PAYLOAD_BYTES, &short, &mut cuts);
    damage.payloads_cut += cuts.count;
    // Members went from the end, if at all.
    let offsets = member_offsets(&out.text);
    out.marks =
        marks.map(|mark| mark.and_then(|mark| offsets.get(mark.member)).map_or(end(&out.text), |&at| at as u32));
    if offsets.is_empty() {
        out.clear();
    }
    cuts
}

/// The first member behind a reserved key.
#[derive(Clone, Copy)]
struct Mark {
    member: usize,
    offset: u32,
}

/// Writes the object and gives where values are shorter than they are; `None` if it is too long.
fn members(
    tags: Option<&Bound<'_, PyAny>>,
    pairs: &[Pair<'_>],
    out: Output<'_>,
    damage: &mut Damage,
    marks: &mut [Option<Mark>; RESERVED.len()],
) -> Option<Vec<usize>> {
    let mut writer = Writer::inside_tags(out, damage);
    let mut members = writer.members(pairs);
    members.retain(|(key, _)| !RESERVED.contains(&key.as_ref()));
    if members.is_empty() {
        return Some(Vec::new());
    }
    if let Some(tags) = tags {
        writer.open(tags);
    }
    writer.out.bytes().push(b'{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            writer.out.bytes().push(b',');
        }
        for (mark, reserved) in marks.iter_mut().zip(RESERVED) {
            if mark.is_none() && key.as_ref() > reserved {
                *mark = Some(Mark { member: index, offset: writer.out.total() as u32 });
            }
        }
        writer.out.string(key);
        writer.out.bytes().push(b':');
        writer.node(value);
    }
    writer.out.bytes().push(b'}');
    let short = std::mem::take(&mut writer.short);
    writer.out.finish().is_none().then_some(short)
}
