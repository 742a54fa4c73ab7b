//! Where a cursor is among the shards of the moment.

use super::cursor::Cursor;
use super::reader::Shard;
use crate::error::Result;
use crate::scan::Source;

/// The hash of each shard's first line; `None` where there is no whole one.
pub fn first_lines(sources: &[Source]) -> Result<Vec<Option<u64>>> {
    sources.iter().map(first_line).collect()
}

fn first_line(source: &Source) -> Result<Option<u64>> {
    match Shard::open(source)? {
        Some(mut shard) => match shard.first_line() {
            Err(error) if error.io_kind().is_none() => Ok(None),
            outcome => outcome,
        },
        None => Ok(None),
    }
}

/// Indices of the shards that the cursor may be in, the likeliest first.
fn candidates(sources: &[Source], hashes: &[Option<u64>], cursor: &Cursor) -> Vec<usize> {
    if has_left(sources, cursor) {
        return Vec::new();
    }
    let mut alike: Vec<usize> = (0..sources.len()).rev().filter(|&index| hashes[index] == Some(cursor.shard)).collect();
    // Of shards that begin alike the one with its ordinal comes first, then the one whose file it was, then the newest.
    alike.sort_by_key(|&index| {
        let is_other = cursor.ordinal == 0 || sources[index].ordinal != cursor.ordinal;
        (is_other, sources[index].file_id() != Some(cursor.file))
    });
    alike
}

/// Whether the cursor's shard was deleted: no shard has its ordinal, and later ones are there.
fn has_left(sources: &[Source], cursor: &Cursor) -> bool {
    let ordinals = || sources.iter().map(|source| source.ordinal);
    cursor.ordinal > 0
        && !ordinals().any(|it| it == 0 || it == cursor.ordinal)
        && ordinals().any(|it| it > cursor.ordinal)
}

/// Index of the shard that the cursor is in, as far as can be told without reading it. `None` if it is not there.
#[must_use]
pub fn likeliest(sources: &[Source], hashes: &[Option<u64>], cursor: &Cursor) -> Option<usize> {
    candidates(sources, hashes, cursor).first().copied()
}

/// The shard that the cursor is in, opened at its place, and its index. `None` if it is not there.
pub fn locate(sources: &[Source], hashes: &[Option<u64>], cursor: &Cursor) -> Result<Option<(usize, Shard)>> {
    let mut best: Option<(usize, Shard)> = None;
    for index in candidates(sources, hashes, cursor) {
        let Some(mut shard) = Shard::open(&sources[index])? else { continue };
        let exact = shard.seek(&sources[index], cursor.offset, cursor.last)?;
        if exact || best.as_ref().is_none_or(|(_, best)| shard.offset() > best.offset()) {
            best = Some((index, shard));
        }
        if exact {
            break;
        }
    }
    Ok(best)
}

/// Index of the first shard behind the one that the cursor was in, which is gone. `None` if that cannot be told.
#[must_use]
pub fn behind(sources: &[Source], hashes: &[Option<u64>], cursor: &Cursor) -> Option<usize> {
    if has_left(sources, cursor) {
        return sources.iter().position(|source| source.ordinal > cursor.ordinal);
    }
    let behind = |shard: u64| hashes.iter().rposition(|hash| *hash == Some(shard)).map(|index| index + 1);
    cursor.completed.iter().rev().find_map(|&shard| behind(shard))
}

/// Index of the shard that comes next at `cursor`, and the stored bytes of it that were delivered. A place in an archive is
/// only guessed unless it is looked for with `patience`, which reads the archive.
pub fn place(sources: &[Source], cursor: &Cursor, patience: bool) -> Result<(usize, u64)> {
    let is_its_file = |source: &Source| {
        let has_ordinal = source.ordinal == cursor.ordinal || source.ordinal == 0 || cursor.ordinal == 0;
        has_ordinal && source.file_id() == Some(cursor.file)
    };
    if let Some(index) = sources.iter().position(is_its_file) {
        let source = &sources[index];
        if source.length().is_none() && !patience {
            if first_line(source)? == Some(cursor.shard) {
                return Ok((index, cursor.offset.min(source.stored_length())));
            }
        } else if let Some(mut shard) = Shard::open(source)?
            && shard.is_plain()
            && shard.first_line()? == Some(cursor.shard)
            && shard.ends_line(cursor.offset, cursor.last)?
        {
            return Ok((index, cursor.offset));
        }
    }
    let hashes = first_lines(sources)?;
    Ok(match locate(sources, &hashes, cursor)? {
        Some((index, shard)) if shard.is_plain() => (index, shard.offset()),
        Some((index, mut shard)) => (index, if shard.is_at_end()? { sources[index].stored_length() } else { 0 }),
        None => (behind(sources, &hashes, cursor).unwrap_or(0), 0),
    })
}
