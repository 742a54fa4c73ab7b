//! Which session of its stream wrote which rows of a snapshot, and which rows a later session has superseded.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::limits::{MAX_SESSION_PLACES, MAX_STREAM_PLACES};
use crate::paths::{Coding, FileKind, MAIN, Stream, shard_path};
use crate::run::records::{self, Place, Recorded};
use crate::scan::source::Content;
use crate::scan::{Segment, Snapshot, Source};
use crate::shard::ordinal::Shards;

/// How often the shards are counted until none is rotated meanwhile.
const LOOKS: u32 = 16;

/// Notes in the sources of `snapshot`, which is one of `directory`, who wrote them, and unless `superseded` rows are wanted too, which
/// rows are superseded.
///
/// # Errors
/// If the sessions on record cannot be read, or supersede rows in more ways than are kept.
pub fn mark(directory: &Path, snapshot: &mut Snapshot, superseded: bool) -> Result<()> {
    let mut streams: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, source) in snapshot.sources.iter().enumerate() {
        streams.entry(source.stream.to_string()).or_default().push(index);
    }
    let mut rewinds: BTreeMap<&str, Rewinds> = streams.keys().map(|name| (name.as_str(), Rewinds::default())).collect();
    let mut main = Told::default();
    records::each(directory, &Stream::main(), |session| {
        if let Some(step) = session.rewind_to {
            for (name, &place) in &session.rewound {
                if let Some(rewinds) = rewinds.get_mut(name.as_str()).filter(|_| name != MAIN) {
                    rewinds.add(place, step);
                }
            }
        }
        main.add(&session);
    })?;
    let mut room = MAX_SESSION_PLACES;
    let mut are_forgotten = false;
    for (name, indices) in &streams {
        let Some(stream) = Stream::parse(name) else { continue };
        let mut told = if name == MAIN { std::mem::take(&mut main) } else { Told::default() };
        told.rewinds.join(rewinds.remove(name.as_str()).unwrap_or_default());
        if name != MAIN {
            records::each(directory, &stream, |session| told.add(&session))?;
        }
        if superseded {
            told.rewinds = Rewinds::default();
        }
        let path = FileKind::Session.path(directory, &stream);
        if told.rewinds.are_too_many {
            return Err(too_many_rewinds(&path));
        }
        if told.places.is_empty() && told.rewinds.places.is_empty() {
            continue;
        }
        if told.places.len() > room {
            told.forget_places();
        }
        are_forgotten |= told.forgotten.is_some();
        let sources: Vec<&Source> = indices.iter().map(|&index| &snapshot.sources[index]).collect();
        let Some(extents) = extents(directory, &stream, &sources)? else { continue };
        let segments = segments(&extents, &told);
        room = room.saturating_sub(segments.iter().map(Vec::len).sum());
        for (&index, segments) in indices.iter().zip(segments) {
            snapshot.sources[index].segments = segments;
        }
    }
    if are_forgotten {
        snapshot.report.notes.push(format!(
            "the sessions on record in {} began at more than {MAX_STREAM_PLACES} places of a stream, or at more than \
             {MAX_SESSION_PLACES} of all: which of them wrote the oldest rows is not told",
            directory.display()
        ));
    }
    Ok(())
}

#[cold]
fn too_many_rewinds(path: &Path) -> Error {
    Error::too_large(format!(
        "{} supersedes rows from more than {MAX_STREAM_PLACES} places on, the limit of one stream: read superseded rows too",
        path.display()
    ))
}

/// What the sessions of a stream say of its rows, folded while they are read.
#[derive(Debug, Default)]
struct Told {
    /// How many there are.
    sessions: u64,
    /// Whether the last one has a place and no finish.
    is_open: bool,
    /// Where sessions begin, each with the last one that does so there.
    places: BTreeMap<Place, u64>,
    /// The last of the places that were forgotten because there were too many.
    forgotten: Option<Place>,
    rewinds: Rewinds,
}

impl Told {
    fn add(&mut self, session: &Recorded) {
        let number = self.sessions;
        self.sessions += 1;
        self.is_open = session.at.is_some() && session.finish.is_none();
        let Some(at) = session.at else { return };
        if let Some(step) = session.rewind_to {
            self.rewinds.add(at, step);
        }
        // What is before a place that was forgotten is nobody's any more.
        if self.forgotten.is_some_and(|forgotten| at <= forgotten) {
            return;
        }
        self.places.insert(at, number);
        if self.places.len() > MAX_STREAM_PLACES {
            self.forgotten = self.places.pop_first().map(|(place, _)| place);
        }
    }

    fn forget_places(&mut self) {
        self.forgotten = self.places.last_key_value().map(|(place, _)| *place);
        self.places.clear();
    }
}

/// Where earlier rows of a stream are superseded: those before a place, from a step on. A later place is kept only with a larger step,
/// since rows before an earlier one are before a later one too.
#[derive(Debug, Default)]
struct Rewinds {
    places: BTreeMap<Place, i64>,
    are_too_many: bool,
}

impl Rewinds {
    fn add(&mut self, at: Place, step: i64) {
        if self.places.range(at..).next().is_some_and(|(_, &later)| later <= step) {
            return;
        }
        while let Some((&place, _)) = self.places.range(..=at).next_back().filter(|&(_, &earlier)| earlier >= step) {
            self.places.remove(&place);
        }
        if self.places.len() < MAX_STREAM_PLACES {
            self.places.insert(at, step);
        } else {
            self.are_too_many = true;
        }
    }

    fn join(&mut self, other: Self) {
        self.are_too_many |= other.are_too_many;
        for (place, step) in other.places {
            self.add(place, step);
        }
    }

    /// The step from which on rows at `place` are superseded.
    fn from(&self, place: Place) -> Option<i64> {
        self.places.range((Bound::Excluded(place), Bound::Unbounded)).next().map(|(_, &step)| step)
    }
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

fn segments(extents: &[Extent], told: &Told) -> Vec<Vec<Segment>> {
    // The longest file of each shard; `None` where its length is not known.
    let mut lengths: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    for file in extents.iter().filter(|extent| !extent.is_tail) {
        let longest = lengths.entry(file.shard).or_insert(file.length);
        *longest = longest.zip(file.length).map(|(one, other)| one.max(other));
    }
    let is_there = |place: Place| {
        lengths.get(&place.shard).is_some_and(|length| length.is_none_or(|length| place.offset <= length))
            // A stream without a file begins where its first one will.
            || lengths.is_empty()
    };
    // What a session wrote begins at its place and ends at the next one's; nobody knows whose the rest is. A log that was truncated or
    // put together by hand has places that go back: of those that are equal the later session wrote last.
    let changes: BTreeMap<Place, Option<u64>> =
        told.places.iter().map(|(&at, &number)| (at, is_there(at).then_some(number))).collect();
    let session_at = |place: Place| changes.range(..=place).next_back().and_then(|(_, &session)| session);
    extents
        .iter()
        .map(|extent| {
            if extent.is_tail {
                // The last session that has not ended, unless its own record waits in the same journal.
                let session = told.is_open.then(|| told.sessions - 1);
                return vec![Segment { start: 0, session, superseded_from: None }];
            }
            let inside = Place { shard: extent.shard, offset: 0 }..=Place { shard: extent.shard, offset: u64::MAX };
            let begun = changes.range(inside.clone()).map(|(place, _)| place.offset);
            let rewound = told.rewinds.places.range(inside).map(|(place, _)| place.offset);
            let mut starts: Vec<u64> = std::iter::once(0).chain(begun).chain(rewound).collect();
            starts.sort_unstable();
            starts.dedup();
            let segment = |start| {
                let place = Place { shard: extent.shard, offset: start };
                Segment { start, session: session_at(place), superseded_from: told.rewinds.from(place) }
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
    type Part = (u64, Option<u64>, Option<i64>);

    fn folded(sessions: &[Recorded]) -> Told {
        let mut told = Told::default();
        for session in sessions {
            told.add(session);
        }
        told
    }

    fn told(extents: &[Extent], sessions: &[Recorded]) -> Vec<Vec<Part>> {
        let segments = segments(extents, &folded(sessions));
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

    #[test]
    fn of_too_many_places_the_last_ones_are_kept_and_rows_before_them_are_nobody_s() {
        let most = MAX_STREAM_PLACES as u64;
        let backwards = (0..most + 10).rev().chain(0..5).map(|offset| session(Some(place(1, offset)), None));
        let forwards = (0..most + 10).map(|offset| session(Some(place(1, offset)), None));
        for (sessions, first) in [(backwards.collect::<Vec<_>>(), most - 1), (forwards.collect(), 10)] {
            let told = folded(&sessions);
            assert_eq!((told.places.len() as u64, told.forgotten), (most, Some(place(1, 9))));
            let segments = &segments(&[file(1, most + 10)], &told)[0];
            let parts: Vec<_> = segments.iter().take(2).map(|segment| (segment.start, segment.session)).collect();
            assert_eq!(parts, [(0, None), (10, Some(first))]);
        }
    }

    #[test]
    fn rewinds_say_the_same_as_all_of_them_one_by_one() {
        let mut seed = 7_u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let all: Vec<(Place, i64)> = (0..next(20)).map(|_| (place(next(3), next(6)), next(8) as i64)).collect();
            let mut rewinds = Rewinds::default();
            for &(place, step) in &all {
                rewinds.add(place, step);
            }
            for here in (0..3).flat_map(|shard| (0..7).map(move |offset| place(shard, offset))) {
                let least = all.iter().filter(|(at, _)| here < *at).map(|&(_, step)| step).min();
                assert_eq!(rewinds.from(here), least, "{all:?} at {here:?}");
            }
        }
        let mut rewinds = Rewinds::default();
        for offset in 0..=MAX_STREAM_PLACES as u64 {
            rewinds.add(place(1, offset), offset as i64);
        }
        assert!(rewinds.are_too_many);
    }
}
