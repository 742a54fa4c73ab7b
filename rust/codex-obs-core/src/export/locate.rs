//! Where a cursor is among the shards of the moment.

use super::cursor::Cursor;
use super::shard::Shard;
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

/// The shard that the cursor is in, opened at its place, and its index. `None` if it is not there.
pub fn locate(sources: &[Source], hashes: &[Option<u64>], cursor: &Cursor) -> Result<Option<(usize, Shard)>> {
    let mut candidates: Vec<usize> =
        (0..sources.len()).rev().filter(|&index| hashes[index] == Some(cursor.shard)).collect();
    // Of shards that begin alike the one whose file it was comes first, then the newest.
    candidates.sort_by_key(|&index| sources[index].file_id() != Some(cursor.file));
    let mut best: Option<(usize, Shard)> = None;
    for index in candidates {
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

/// Index of the first shard behind one that the cursor was in and that is there. `None` if none of them is.
#[must_use]
pub fn behind(hashes: &[Option<u64>], cursor: &Cursor) -> Option<usize> {
    let behind = |shard: u64| hashes.iter().rposition(|hash| *hash == Some(shard)).map(|index| index + 1);
    cursor.completed.iter().rev().find_map(|&shard| behind(shard))
}

/// Index of the shard that comes next at `cursor`, and the stored bytes of it that were delivered. A place in an archive is
/// only guessed unless it is looked for with `patience`, which reads the archive.
pub fn place(sources: &[Source], cursor: &Cursor, patience: bool) -> Result<(usize, u64)> {
    if let Some(index) = sources.iter().position(|source| source.file_id() == Some(cursor.file)) {
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
        None => (behind(&hashes, cursor).unwrap_or(0), 0),
    })
}
