//! The way to read lines that are not ours but resemble each other: only what differs from an earlier line is looked at.
//!
//! Whoever writes a log writes the same members in the same order, line after line. So a line is laid beside an earlier one
//! that was read in full, the [`Shape`]: as far as both are equal nothing is to be done, and where they differ within
//! a member's value, that value is read and the comparison goes on behind it. A difference anywhere else means that
//! the line has another shape. What lies between the values is then equal byte by byte, and every value that differs was
//! read as JSON, so the line is JSON exactly if the general way says so, and says the same.

use super::canonical::number;
use super::faults::Fault;
use super::field::{Field, from_double};
use super::json::Cursor;
use super::names::Names;
use super::row::{Member, Row};
use super::tags::{OwnedTags, Tags};
use crate::limits::{MAX_SHAPE_BYTES, MAX_SHAPE_MEMBERS};

/// Shapes that are remembered: a log that several writers share has a few.
const SHAPES: usize = 4;
/// Lines without a known shape after which most are not compared any more.
const PATIENCE: u32 = 64;
/// Of so many lines then, the first few are.
const PERIOD: u32 = 128;
const PROBES: u32 = 8;

/// The shapes of the lines so far.
#[derive(Debug, Default)]
pub struct Shapes {
    known: [Shape; SHAPES],
    /// The one that matched last.
    last: usize,
    /// Lines since one matched.
    misses: u32,
}

/// A line that was read, and what it says.
#[derive(Debug, Default)]
struct Shape {
    line: String,
    members: Vec<Member>,
    /// Members that differ in the line at hand, and where they end there.
    changed: Vec<(usize, usize)>,
    row: Row<'static>,
    tags: OwnedTags,
    scratch: String,
}

impl Shapes {
    /// Reads a line without its newline, if it has a known shape.
    #[inline]
    pub fn read<'a>(&'a mut self, line: &str, names: &mut Names) -> Option<Row<'a>> {
        // What matches is kept to be compared with, so no long line may.
        if line.len() > MAX_SHAPE_BYTES || self.is_hopeless() {
            return None;
        }
        let found = (0..SHAPES)
            .map(|offset| (self.last + offset) % SHAPES)
            .find(|&index| self.known[index].read(line, names).is_some())?;
        (self.last, self.misses) = (found, 0);
        let shape = &self.known[found];
        Some(Row { tags: shape.tags.borrow(), ..shape.row })
    }

    /// Remembers a line that was not read by its shape, in place of the one that was learned or matched least recently.
    pub fn learn(&mut self, line: &str, members: &[Member], row: &Row<'_>) {
        let hopeless = self.is_hopeless();
        self.misses = self.misses.wrapping_add(1);
        if hopeless || line.len() > MAX_SHAPE_BYTES || members.len() > MAX_SHAPE_MEMBERS {
            return;
        }
        let place = (self.last + SHAPES - 1) % SHAPES;
        if self.known[place].learn(line, members, row) {
            self.last = place;
        }
    }

    #[inline]
    fn is_hopeless(&self) -> bool {
        self.misses > PATIENCE && self.misses % PERIOD > PROBES
    }
}

impl Shape {
    fn learn(&mut self, line: &str, members: &[Member], row: &Row<'_>) -> bool {
        self.members.clear();
        self.members.extend_from_slice(members);
        // Of repeated keys the last counts. What the others say does not matter, so they are none of ours.
        let mut seen = 0_u32;
        for member in self.members.iter_mut().rev() {
            let Some(field) = member.field else { continue };
            if seen & 1 << field as u32 != 0 {
                member.field = None;
            }
            seen |= 1 << field as u32;
        }
        let key = seen & 1 << Field::Key as u32 != 0;
        if key && seen & 1 << Field::Metric as u32 != 0 {
            // Which of the two names the metric depends on what they hold.
            self.members.clear();
            return false;
        }
        line.clone_into(&mut self.line);
        self.row = row.without_tags();
        self.tags.set(row.tags.json);
        true
    }

    /// Takes over what `line` says, if it has this shape. Otherwise nothing changes.
    #[inline]
    fn read(&mut self, line: &str, names: &mut Names) -> Option<()> {
        let (old, new) = (self.line.as_bytes(), line.as_bytes());
        let mut row = self.row;
        let mut tags = None;
        self.changed.clear();
        // Both lines are equal, or understood, before these places. No member before `next` can differ any more.
        let (mut old_at, mut new_at, mut next) = (0, 0, 0);
        loop {
            let same = common_length(&old[old_at..], &new[new_at..]);
            let stop = old_at + same;
            if stop == old.len() && new_at + same == new.len() {
                break;
            }
            // A value that ends where the difference is may go on in the new line.
            while self.members.get(next)?.end < stop {
                next += 1;
            }
            let member = self.members[next];
            let start = member.start.checked_sub(old_at).filter(|_| member.start <= stop)? + new_at;
            let end = if member.field == Some(Field::Value)
                && let Some((number, length)) = number(&new[start..])
            {
                // What follows is compared next, so a number that goes on otherwise than in JSON is noticed.
                row.value = from_double(number);
                row.faults.set(Fault::Unreadable(Field::Value), false);
                start + length
            } else {
                let mut cursor = Cursor::at(line, start);
                let may_be_bare = member.field == Some(Field::Value);
                let token = if may_be_bare { cursor.value_or_bare() } else { cursor.value() }.ok()?;
                match member.field {
                    None => {}
                    Some(field) => {
                        row.set(field, token, names, &mut self.scratch)?;
                        if field == Field::Tags {
                            tags = Some(token.object().unwrap_or(Tags::NONE.json));
                        }
                    }
                }
                cursor.place()
            };
            self.changed.push((next, end));
            (old_at, new_at) = (member.end, end);
            next += 1;
        }
        if let Some(json) = tags {
            self.tags.set(json);
            row.faults.set(Fault::Cut(Field::Tags), self.tags.borrow().cut);
        }
        self.row = row;
        self.replace_line(line);
        Some(())
    }

    /// Makes `line` the one to compare with.
    #[inline]
    fn replace_line(&mut self, line: &str) {
        line.clone_into(&mut self.line);
        let mut changed = self.changed.iter().peekable();
        // How far what follows has moved; it wraps where it moved to the front.
        let mut shift = 0_usize;
        for (index, member) in self.members.iter_mut().enumerate() {
            member.start = member.start.wrapping_add(shift);
            let mut end = member.end.wrapping_add(shift);
            if let Some((_, new_end)) = changed.next_if(|(number, _)| *number == index) {
                shift = new_end.wrapping_sub(member.end);
                end = *new_end;
            }
            member.end = end;
        }
    }
}

/// Bytes that two texts have in common from their start.
#[inline]
fn common_length(one: &[u8], other: &[u8]) -> usize {
    const WIDE: usize = 32;
    const WORD: usize = 8;
    let ends = one.len().min(other.len());
    let (one, other) = (&one[..ends], &other[..ends]);
    let mut at = 0;
    for (one, other) in one.as_chunks::<WIDE>().0.iter().zip(other.as_chunks::<WIDE>().0) {
        if one != other {
            break;
        }
        at += WIDE;
    }
    for (one, other) in one[at..].as_chunks::<WORD>().0.iter().zip(other[at..].as_chunks::<WORD>().0) {
        let different = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if different != 0 {
            return at + different.trailing_zeros() as usize / 8;
        }
        at += WORD;
    }
    at + one[at..].iter().zip(&other[at..]).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
