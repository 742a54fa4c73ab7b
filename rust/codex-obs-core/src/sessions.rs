//! Which session of its stream wrote which rows of a snapshot, and which rows a later session has superseded.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::fs::FileId;
use crate::paths::{Coding, FileKind, MAIN, Stream, shard_path};
use crate::run::records::{self, Place, Recorded};
use crate::scan::source::Content;
use crate::scan::{Segment, Snapshot, Source};
use crate::shard::ordinal::Shards;

/// How often the shards are counted until none is rotated meanwhile.
const LOOKS: u32 = 16;

/// Notes in the sources of `snapshot`, which is one of `directory`, who wrote them.
///
/// # Errors
/// If the sessions on record cannot be read.
pub fn mark(directory: &Path, snapshot: &mut Snapshot) -> Result<()> {
    let main = records::sessions(directory, &Stream::main())?;
    let mut streams: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, source) in snapshot.sources.iter().enumerate() {
        streams.entry(source.stream.to_string()).or_default().push(index);
    }
    for (name, indices) in streams {
        let Some(stream) = Stream::parse(&name) else { continue };
        let own;
        let sessions = if name == MAIN {
            &main
        } else {
            own = records::sessions(directory, &stream)?;
            &own
        };
        let rewinds = rewinds(&name, sessions, &main);
        if sessions.iter().all(|session| session.at.is_none()) && rewinds.is_empty() {
            continue;
        }
        let sources: Vec<&Source> = indices.iter().map(|&index| &snapshot.sources[index]).collect();
        let Some(extents) = extents(directory, &stream, &sources)? else { continue };
        let segments = segments(&extents, sessions, &rewinds);
        for (index, segments) in indices.into_iter().zip(segments) {
            snapshot.sources[index].segments = segments;
        }
    }
    Ok(())
}

/// A source's place among the shards of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    shard: u64,
    /// Bytes, where they can be counted before reading.
    length: Option<u64>,
    /// Whether it is what a journal adds behind the newest file.
    is_tail: bool,
}

/// Where earlier rows of a stream are superseded: those before the place, from the step on.
fn rewinds(name: &str, sessions: &[Recorded], main: &[Recorded]) -> Vec<(Place, i64)> {
    let own = sessions.iter().filter_map(|session| Some((session.at?, session.rewind_to?)));
    let others = main.iter().filter(|_| name != MAIN);
    own.chain(others.filter_map(|session| Some((*session.rewound.get(name)?, session.rewind_to?)))).collect()
}

/// The ordinal of the newest file among `sources`; `None` if it cannot be told, or there is none.
fn newest_ordinal(directory: &Path, stream: &Stream, sources: &[&Source]) -> Result<Option<u64>> {
    let base = FileKind::Metrics.path(directory, stream);
    let Some(newest) = sources.iter().rev().find_map(|source| source.file_id()) else {
        return Ok(Some(Shards::of(&base)?.current()));
    };
    for _ in 0..LOOKS {
        let before = Shards::of(&base)?;
        let mut found = None;
        for number in std::iter::once(0).chain(before.numbers.iter().copied()) {
            for coding in Coding::ALL {
                if FileId::at(&shard_path(&base, number, coding))? == Some(newest) {
                    found = Some(before.ordinal(number));
                }
            }
        }
        if Shards::of(&base)? == before {
            // What is in no file of a number is an archive, the newest of those that there are.
            return Ok(Some(found.unwrap_or_else(|| before.behind())));
        }
    }
    Ok(None)
}

/// The places of `sources`; `None` where shards are rotated too fast to tell.
fn extents(directory: &Path, stream: &Stream, sources: &[&Source]) -> Result<Option<Vec<Extent>>> {
    let files = sources.iter().filter(|source| source.file_id().is_some()).count() as u64;
    let last = sources.iter().rev().find(|source| source.file_id().is_some());
    let is_known = sources.iter().all(|source| source.ordinal > 0 || source.file_id().is_none());
    let newest = match last.map(|source| source.ordinal) {
        Some(ordinal) if is_known => ordinal,
        // Names kept changing while the files were found. They are in order, and their ordinals follow each other.
        _ => match newest_ordinal(directory, stream, sources)? {
            Some(ordinal) => ordinal,
            None => return Ok(None),
        },
    };
    let mut next = (newest + 1).saturating_sub(files);
    let extent = |source: &&Source| match source.content {
        Content::Lines(_) => Extent { shard: newest, length: None, is_tail: true },
        Content::File { .. } => {
            let shard = if is_known { source.ordinal } else { next };
            next += 1;
            Extent { shard, length: source.length(), is_tail: false }
        }
    };
    Ok(Some(sources.iter().map(extent).collect()))
}

fn segments(extents: &[Extent], sessions: &[Recorded], rewinds: &[(Place, i64)]) -> Vec<Vec<Segment>> {
    let is_there = |place: Place| {
        let mut files = extents.iter().filter(|extent| !extent.is_tail);
        files.any(|file| file.shard == place.shard && file.length.is_none_or(|length| place.offset <= length))
            // A stream without a file begins where its first one will.
            || extents.iter().all(|extent| extent.is_tail)
    };
    // What a session wrote begins at its place and ends at the next one's; nobody knows whose the rest is.
    let mut changes: Vec<(Place, Option<u64>)> = Vec::new();
    for (number, session) in (0..).zip(sessions) {
        match session.at {
            Some(at) if is_there(at) => changes.push((at, Some(number))),
            Some(at) => changes.push((at, None)),
            None => {}
        }
    }
    // A log that was truncated or put together by hand has places that go back. The later session wrote last.
    changes.sort_by_key(|&(place, _)| place);
    let session_at = |place: Place| changes.iter().rfind(|(at, _)| *at <= place).and_then(|&(_, session)| session);
    let superseded_from = |place: Place| rewinds.iter().filter(|(at, _)| place < *at).map(|&(_, step)| step).min();
    let last = sessions.last();
    extents
        .iter()
        .map(|extent| {
            if extent.is_tail {
                // The last session that has not ended, unless its own record waits in the same journal.
                let is_its = last.is_some_and(|last| last.at.is_some() && last.finish.is_none());
                let session = is_its.then(|| sessions.len() as u64 - 1);
                return vec![Segment { start: 0, session, superseded_from: None }];
            }
            let places = changes.iter().map(|&(place, _)| place).chain(rewinds.iter().map(|&(place, _)| place));
            let inner = places.filter(|place| place.shard == extent.shard).map(|place| place.offset);
            let mut starts: Vec<u64> = std::iter::once(0).chain(inner).collect();
            starts.sort_unstable();
            starts.dedup();
            let segment = |start| {
                let place = Place { shard: extent.shard, offset: start };
                Segment { start, session: session_at(place), superseded_from: superseded_from(place) }
            };
            starts.into_iter().map(segment).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(shard: u64, offset: u64) -> Place {
        Place { shard, offset }
    }

    fn session(at: Option<Place>, rewind_to: Option<i64>) -> Recorded {
        Recorded {
            started_micros: 0,
            host: String::new(),
            pid: 1,
            job: None,
            config_hash: None,
            at,
            rewind_to,
            rewound: BTreeMap::new(),
            finish: None,
        }
    }

    fn file(shard: u64, length: u64) -> Extent {
        Extent { shard, length: Some(length), is_tail: false }
    }

    /// Of each segment where it begins, its session, and the step from which it is superseded.
    type Told = (u64, Option<u64>, Option<i64>);

    fn told(extents: &[Extent], sessions: &[Recorded]) -> Vec<Vec<Told>> {
        let segments = segments(extents, sessions, &rewinds(MAIN, sessions, sessions));
        let parts = |segments: Vec<Segment>| {
            segments.into_iter().map(|segment| (segment.start, segment.session, segment.superseded_from)).collect()
        };
        segments.into_iter().map(parts).collect()
    }

    #[test]
    fn a_row_belongs_to_the_last_session_that_began_before_it() {
        let sessions =
            [session(Some(place(1, 0)), None), session(Some(place(2, 40)), None), session(Some(place(2, 40)), Some(7))];
        assert_eq!(
            told(&[file(1, 90), file(2, 60)], &sessions),
            [vec![(0, Some(0), Some(7))], vec![(0, Some(0), Some(7)), (40, Some(2), None)]]
        );
    }

    #[test]
    fn rewinds_before_a_place_hold_until_it_and_the_earliest_step_counts() {
        let sessions = [
            session(Some(place(1, 0)), None),
            session(Some(place(1, 10)), Some(5)),
            session(Some(place(1, 20)), Some(8)),
            session(Some(place(1, 30)), Some(6)),
        ];
        assert_eq!(
            told(&[file(1, 50)], &sessions),
            [[(0, Some(0), Some(5)), (10, Some(1), Some(6)), (20, Some(2), Some(6)), (30, Some(3), None)]]
        );
    }

    #[test]
    fn what_a_session_wrote_whose_place_is_gone_is_nobody_s() {
        let sessions = [session(None, None), session(Some(place(2, 9)), None), session(Some(place(4, 0)), Some(3))];
        assert_eq!(
            told(&[file(3, 50), file(4, 5)], &sessions),
            [vec![(0, None, Some(3))], vec![(0, Some(2), None)]],
            "its shard was deleted, but what is superseded stays so"
        );
        assert_eq!(told(&[file(2, 5)], &sessions[..2]), [vec![(0, None, None), (9, None, None)]], "truncated");
        assert_eq!(told(&[file(1, 5)], &[session(None, None)]), [vec![(0, None, None)]], "a log of before");
    }

    #[test]
    fn a_journal_s_tail_is_the_last_session_s_unless_that_has_ended() {
        let tail = Extent { shard: 1, length: None, is_tail: true };
        let mut sessions = [session(Some(place(1, 0)), None)];
        assert_eq!(told(&[file(1, 5), tail], &sessions)[1], [(0, Some(0), None)]);
        assert_eq!(told(&[tail], &sessions), [[(0, Some(0), None)]]);
        sessions[0].finish = Some((crate::run::ending::RunStatus::Finished, 1));
        assert_eq!(told(&[file(1, 5), tail], &sessions)[1], [(0, None, None)]);
    }
}
