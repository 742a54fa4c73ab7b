use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::follow::point::Point;
use crate::follow::points::Rows;
use crate::follow::progress::Progress;
use crate::paths::{Coding, shard_path};
use crate::pulse::Pulse;
use crate::shard::hold::Hold;
use crate::shard::pack::pack_all;
use crate::shard::retention::retire;
use crate::shard::rotate::shift;
use crate::worker::feed::Feed;

pub(super) fn line(step: i64) -> String {
    // Long and short ones, so that offsets differ.
    let pad = "x".repeat((step % 7) as usize * 5);
    format!(
        "{{\"timestamp\":\"1970-01-01T00:00:00.000001Z\",\"step\":{step},\"split\":\"train\",\"metric\":\"m\",\"value\":{step},\"tags\":{{\"pad\":\"{pad}\"}}}}\n"
    )
}

pub(super) fn open(folder: &Path, cursor: Option<Cursor>) -> Follower {
    Follower::open(FileKind::Metrics, folder, &Stream::main(), None, cursor, None).unwrap()
}

/// Adds points until they are `most`.
fn read(follower: &mut Follower, points: &mut Vec<Point>, most: usize) -> Result<Stopped> {
    let mut rows = Rows::new("", 0);
    (rows.points, rows.most) = (std::mem::take(points), most);
    let stopped = follower.read(&mut rows);
    *points = rows.points;
    stopped
}

/// The steps of everything that comes next.
pub(super) fn rest(follower: &mut Follower) -> Vec<i64> {
    let mut points = Vec::new();
    while read(follower, &mut points, usize::MAX).unwrap() != Stopped::AtEnd {}
    points.iter().map(|point| point.step).collect()
}

fn compress(path: &Path, coding: Coding) {
    let bytes = fs::read(path).unwrap();
    let target = path.with_file_name(format!("{}{}", path.file_name().unwrap().to_str().unwrap(), coding.suffix()));
    let packed = match coding {
        Coding::Plain => return,
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&bytes).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Zstandard => zstd::encode_all(&bytes[..], 1).unwrap(),
    };
    fs::write(target, packed).unwrap();
    fs::remove_file(path).unwrap();
}

/// A log and what is done to it.
pub(super) struct Log {
    pub(super) folder: tempfile::TempDir,
    pub(super) base: PathBuf,
    next: i64,
}

impl Log {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("metrics.ndjson");
        fs::write(&base, "").unwrap();
        Self { folder, base, next: 0 }
    }

    pub(super) fn append(&mut self, count: i64) {
        let text: String = (self.next..self.next + count).map(line).collect();
        fs::OpenOptions::new().append(true).create(true).open(&self.base).unwrap().write_all(text.as_bytes()).unwrap();
        self.next += count;
    }

    fn rotate(&self) {
        // The writer never rotates an empty shard.
        if fs::metadata(&self.base).unwrap().len() > 0 {
            shift(&self.base, &Pulse::default()).unwrap();
            fs::write(&self.base, "").unwrap();
        }
    }
}

#[test]
fn every_shard_is_read_in_order_whatever_it_is_packed_in() {
    let mut log = Log::new();
    for coding in [Coding::Gzip, Coding::Plain, Coding::Zstandard, Coding::Plain] {
        log.append(10);
        log.rotate();
        compress(&shard_path(&log.base, 1, Coding::Plain), coding);
    }
    // A gap in the numbers.
    fs::rename(shard_path(&log.base, 4, Coding::Gzip), shard_path(&log.base, 9, Coding::Gzip)).unwrap();
    log.append(10);
    for done in 0..=50 {
        let mut follower = open(log.folder.path(), None);
        let mut points = Vec::new();
        assert_eq!(read(&mut follower, &mut points, done).unwrap(), Stopped::Full);
        let mut again = open(log.folder.path(), Some(follower.cursor().clone()).filter(|_| done > 0));
        assert_eq!(rest(&mut again), (done as i64..50).collect::<Vec<_>>(), "from {done}");
        assert_eq!((again.losses(), rest(&mut again).len()), (Losses::default(), 0));
    }
}

#[test]
fn a_half_written_line_is_waited_for_and_a_torn_one_of_an_old_shard_counted() {
    let mut log = Log::new();
    log.append(2);
    let mut follower = open(log.folder.path(), None);
    let (start, end) = ("{\"step\":2,\"metric\":\"m\",", "\"value\":2}\n");
    let mut file = fs::OpenOptions::new().append(true).open(&log.base).unwrap();
    file.write_all(start.as_bytes()).unwrap();
    assert_eq!(rest(&mut follower), [0, 1]);
    file.write_all(end.as_bytes()).unwrap();
    assert_eq!(rest(&mut follower), [2]);
    file.write_all(b"{\"torn").unwrap();
    assert_eq!(rest(&mut follower), [] as [i64; 0]);
    // An append that is taken back.
    file.set_len(file.metadata().unwrap().len() - 6).unwrap();
    log.next = 3;
    log.append(2);
    assert_eq!((rest(&mut follower), follower.losses().refused), (vec![3, 4], 0));
    file.write_all(b"{\"torn").unwrap();
    log.rotate();
    log.append(1);
    assert_eq!((rest(&mut follower), follower.losses().refused), (vec![5], 1));
}

#[test]
fn a_shard_that_was_deleted_is_a_gap_and_the_rest_follows() {
    let mut log = Log::new();
    for _ in 0..4 {
        log.append(3);
        log.rotate();
    }
    log.append(3);
    let mut follower = open(log.folder.path(), None);
    let mut points = Vec::new();
    read(&mut follower, &mut points, 2).unwrap();
    let cursor = follower.cursor().clone();
    retire(&log.base, 2, None, &Pulse::default()).unwrap();
    assert_eq!(rest(&mut follower), [2, 6, 7, 8, 9, 10, 11, 12, 13, 14], "the open shard is read to its end");
    assert_eq!((follower.losses().missing, follower.losses().gaps), (3, 0), "the deletion is on record");
    let mut again = open(log.folder.path(), Some(cursor));
    assert_eq!((rest(&mut again), again.losses().gaps), ((6..15).collect(), 1));
}

#[test]
fn a_current_shard_that_was_replaced_is_read_anew_and_the_ones_before_are_not() {
    let mut log = Log::new();
    for _ in 0..3 {
        log.append(3);
        log.rotate();
    }
    log.append(3);
    let mut follower = open(log.folder.path(), None);
    assert_eq!(rest(&mut follower), (0..12).collect::<Vec<_>>());
    let cursor = follower.cursor().clone();
    // Copied and truncated by another program.
    fs::write(&log.base, "").unwrap();
    assert_eq!(rest(&mut follower), [] as [i64; 0]);
    log.append(2);
    assert_eq!(rest(&mut follower), [12, 13]);
    assert_eq!(rest(&mut open(log.folder.path(), Some(cursor))), [12, 13]);
}

#[test]
fn a_shard_that_was_cut_and_has_grown_beyond_the_place_is_read_from_its_start() {
    for (keeps_copy, lines) in [(true, 40), (false, 40), (false, 20), (false, 21)] {
        let mut log = Log::new();
        log.append(20);
        let mut follower = open(log.folder.path(), None);
        let mut points = Vec::new();
        read(&mut follower, &mut points, 18).unwrap();
        // Copied and truncated by another program, and written on meanwhile.
        if keeps_copy {
            fs::copy(&log.base, shard_path(&log.base, 1, Coding::Plain)).unwrap();
        }
        fs::OpenOptions::new().write(true).open(&log.base).unwrap().set_len(0).unwrap();
        log.append(lines);
        // What was read before is delivered from memory.
        assert_eq!(rest(&mut follower), (18..20 + lines).collect::<Vec<_>>(), "{keeps_copy} {lines}");
    }
}

#[test]
fn what_was_delivered_before_its_file_was_cut_or_deleted_is_no_gap() {
    for (delivered, is_deleted, gaps) in [(20, false, 0), (18, false, 1), (20, true, 0)] {
        let mut log = Log::new();
        let (feed, _receiver) = Feed::new();
        let (feed, kept) = (Arc::new(feed), Arc::new(Hold::new(1)).part());
        log.append(20);
        let mut follower = open(log.folder.path(), None);
        follower.ask(Arc::clone(&feed), kept);
        let file = FileId::at(&log.base).unwrap().unwrap();
        feed.offer(file, 0, &fs::read(&log.base).unwrap());
        let mut points = Vec::new();
        read(&mut follower, &mut points, 18).unwrap();
        if delivered == 18 {
            // Appended while the destination was away.
            let length = fs::metadata(&log.base).unwrap().len();
            log.append(2);
            feed.offer(file, length, &fs::read(&log.base).unwrap()[length as usize..]);
        } else {
            assert_eq!(rest(&mut follower), [18, 19]);
        }
        if is_deleted {
            fs::remove_file(&log.base).unwrap();
            for _ in 0..3 {
                assert_eq!(rest(&mut follower), [] as [i64; 0]);
            }
        } else {
            fs::OpenOptions::new().write(true).open(&log.base).unwrap().set_len(0).unwrap();
        }
        let first = log.next;
        log.append(30);
        let steps = rest(&mut follower);
        assert!(steps.ends_with(&(first..log.next).collect::<Vec<_>>()), "{steps:?}");
        assert_eq!(follower.losses().gaps, gaps, "{delivered} {is_deleted}");
    }
}

#[test]
fn a_shard_that_is_gone_is_one_gap_however_often_it_is_looked_for() {
    let mut log = Log::new();
    log.append(3);
    let mut follower = open(log.folder.path(), None);
    assert_eq!(rest(&mut follower), [0, 1, 2]);
    fs::remove_file(&log.base).unwrap();
    for _ in 0..3 {
        assert_eq!(rest(&mut follower), [] as [i64; 0]);
    }
    log.append(2);
    assert_eq!((rest(&mut follower), follower.losses().gaps), (vec![3, 4], 1));
}

#[test]
fn a_batch_of_a_shard_that_was_cut_meanwhile_does_not_fit_by_chance() {
    let log = Log::new();
    let (feed, receiver) = Feed::new();
    let mut follower =
        Follower::open(FileKind::Metrics, log.folder.path(), &Stream::main(), Some(receiver), None, None).unwrap();
    feed.want(true);
    let file = FileId::at(&log.base).unwrap().unwrap();
    let mut offset = 0;
    // Lines of one length.
    for step in [70, 77] {
        fs::OpenOptions::new().append(true).open(&log.base).unwrap().write_all(line(step).as_bytes()).unwrap();
        feed.offer(file, offset, line(step).as_bytes());
        offset += line(step).len() as u64;
    }
    assert_eq!(rest(&mut follower), [70, 77]);
    fs::OpenOptions::new().write(true).open(&log.base).unwrap().set_len(0).unwrap();
    offset = 0;
    for step in [14, 21, 28, 35] {
        fs::OpenOptions::new().append(true).open(&log.base).unwrap().write_all(line(step).as_bytes()).unwrap();
        feed.offer(file, offset, line(step).as_bytes());
        offset += line(step).len() as u64;
    }
    assert_eq!(rest(&mut follower), [14, 21, 28, 35]);
}

#[test]
fn of_shards_that_begin_alike_the_right_one_is_found() {
    let log = Log::new();
    // Rows of the legacy form: with a timestamp shards that are equal are one shard under several names.
    let text = [0, 1, 2].map(|step| format!("{{\"step\":{step},\"metric\":\"m\",\"value\":{step}}}\n")).concat();
    for number in 1..5 {
        fs::write(shard_path(&log.base, number, Coding::Plain), &text).unwrap();
    }
    let mut follower = open(log.folder.path(), None);
    let mut points = Vec::new();
    read(&mut follower, &mut points, 5).unwrap();
    let mut again = open(log.folder.path(), Some(follower.cursor().clone()));
    assert_eq!(rest(&mut again), [2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_cut_shard_goes_on_behind_the_latest_line_that_was_delivered() {
    let mut log = Log::new();
    log.append(10);
    let mut follower = open(log.folder.path(), None);
    let mut points = Vec::new();
    read(&mut follower, &mut points, 5).unwrap();
    let cursor = follower.cursor().clone();
    // A line before the place is gone: the hash says where to go on.
    let text: String = (0..10).filter(|step| *step != 2).map(line).collect();
    fs::write(&log.base, text).unwrap();
    assert_eq!(rest(&mut open(log.folder.path(), Some(cursor.clone()))), [5, 6, 7, 8, 9]);
    // The last delivered line is gone as well: from the start.
    fs::write(&log.base, (0..4).map(line).collect::<String>()).unwrap();
    assert_eq!(rest(&mut open(log.folder.path(), Some(cursor))), [0, 1, 2, 3]);
}

#[test]
fn live_batches_are_used_where_they_fit_and_the_file_where_not() {
    let mut log = Log::new();
    let (feed, receiver) = Feed::new();
    let mut follower =
        Follower::open(FileKind::Metrics, log.folder.path(), &Stream::main(), Some(receiver.clone()), None, None)
            .unwrap();
    feed.want(true);
    let mut seen = Vec::new();
    for round in 0..200 {
        let offset = fs::metadata(&log.base).unwrap().len();
        let file = FileId::at(&log.base).unwrap().unwrap();
        let before = log.next;
        log.append(round % 4 + 1);
        if round % 3 != 0 {
            let text: String = (before..log.next).map(line).collect();
            feed.offer(file, offset, text.as_bytes());
        }
        if round % 5 == 0 {
            log.rotate();
        }
        if round % 7 == 0 {
            seen.extend(rest(&mut follower));
            assert!(receiver.is_empty());
        }
    }
    seen.extend(rest(&mut follower));
    assert_eq!(seen, (0..log.next).collect::<Vec<_>>());
}

#[test]
fn what_a_batch_says_is_used_without_a_look_at_the_file() {
    let log = Log::new();
    let (feed, receiver) = Feed::new();
    let mut follower =
        Follower::open(FileKind::Metrics, log.folder.path(), &Stream::main(), Some(receiver), None, None).unwrap();
    assert_eq!(rest(&mut follower), [] as [i64; 0]);
    feed.want(true);
    let file = FileId::at(&log.base).unwrap().unwrap();
    feed.offer(FileId::default(), 0, line(1).as_bytes());
    feed.offer(file, 5, line(2).as_bytes());
    feed.offer(file, 0, line(3).as_bytes());
    let mut points = Vec::new();
    assert_eq!(read(&mut follower, &mut points, 1).unwrap(), Stopped::Full);
    assert_eq!(points[0].step, 3, "neither of another file nor of another place");
}

#[test]
fn memory_does_not_grow_with_the_log() {
    let mut log = Log::new();
    for _ in 0..4 {
        log.append(20_000);
        log.rotate();
    }
    let mut follower = open(log.folder.path(), None);
    let mut points = Vec::new();
    let mut steps = 0;
    loop {
        let stopped = read(&mut follower, &mut points, 1000).unwrap();
        steps += points.len();
        points.clear();
        let held = follower.shard.as_ref().map_or(0, Shard::held_bytes);
        assert!(held <= 2 << 20, "{held} bytes are held");
        if stopped == Stopped::AtEnd {
            break;
        }
    }
    assert_eq!(steps, 80_000);
}

/// What may happen to a log between two deliveries.
#[derive(Clone, Debug)]
enum Event {
    Append(i64),
    Rotate,
    Compress(u64, bool),
    Deliver(usize),
    /// The process dies after a delivery, before or after its cursor is on disk.
    Die(bool),
    /// Retention deletes what was delivered.
    Retire,
    /// So many rotated shards stay plain.
    Pack(u64),
    /// The last lines are cut off and written again, as a recovery does.
    Rewrite(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..20_i64).prop_map(Event::Append),
        2 => Just(Event::Rotate),
        1 => (1..4_u64, any::<bool>()).prop_map(|(number, gzip)| Event::Compress(number, gzip)),
        4 => (1..30_usize).prop_map(Event::Deliver),
        1 => any::<bool>().prop_map(Event::Die),
        1 => Just(Event::Retire),
        2 => (0..4_u64).prop_map(Event::Pack),
        1 => (1..10_usize).prop_map(Event::Rewrite),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Against a model that knows what was appended: whatever happens to the files, everything is delivered, in order where
    /// it comes for the first time, and what comes again is what came before.
    #[test]
    fn everything_is_delivered_whatever_happens(events in prop::collection::vec(event(), 1..80)) {
        let mut log = Log::new();
        let path = log.folder.path().join("export-main-0.json");
        let mut progress = Progress::default();
        let mut follower = open(log.folder.path(), None);
        let mut kept = Arc::new(Hold::new(u64::MAX));
        let mut part = kept.part();
        let mut delivered: Vec<i64> = Vec::new();
        for event in events {
            match event {
                Event::Append(count) => log.append(count),
                Event::Rotate => log.rotate(),
                Event::Compress(number, gzip) => {
                    let shard = shard_path(&log.base, number, Coding::Plain);
                    if shard.exists() {
                        compress(&shard, if gzip { Coding::Gzip } else { Coding::Zstandard });
                    }
                }
                Event::Deliver(most) => {
                    let mut points = Vec::new();
                    let _ = read(&mut follower, &mut points, most).unwrap();
                    delivered.extend(points.iter().map(|point| point.step));
                    progress.cursor = follower.has_begun().then(|| follower.cursor().clone());
                    progress.save(&path).unwrap();
                    follower.place().into_iter().for_each(|(ordinal, offset)| part.note(ordinal, offset));
                }
                Event::Die(lost) => {
                    if lost {
                        let mut points = Vec::new();
                        read(&mut follower, &mut points, 5).unwrap();
                        delivered.extend(points.iter().map(|point| point.step));
                    }
                    progress = Progress::load(&path).unwrap();
                    follower = open(log.folder.path(), progress.cursor.clone());
                    kept = Arc::new(Hold::new(u64::MAX));
                    part = kept.part();
                    follower.place().into_iter().for_each(|(ordinal, offset)| part.note(ordinal, offset));
                }
                Event::Retire => {
                    retire(&log.base, 1, Some(&kept), &Pulse::default()).unwrap();
                }
                Event::Pack(keep) => {
                    pack_all(&log.base, keep, 0o600, &|| true).unwrap();
                }
                Event::Rewrite(lines) => {
                    let text = fs::read_to_string(&log.base).unwrap();
                    let all: Vec<&str> = text.split_inclusive('\n').collect();
                    let keep: usize = all[..all.len().saturating_sub(lines)].iter().map(|line| line.len()).sum();
                    fs::OpenOptions::new().write(true).open(&log.base).unwrap().set_len(keep as u64).unwrap();
                    let mut file = fs::OpenOptions::new().append(true).open(&log.base).unwrap();
                    file.write_all(&text.as_bytes()[keep..]).unwrap();
                }
            }
        }
        loop {
            let mut points = Vec::new();
            let stopped = read(&mut follower, &mut points, 100).unwrap();
            delivered.extend(points.iter().map(|point| point.step));
            if stopped == Stopped::AtEnd {
                break;
            }
        }
        let mut first = BTreeMap::new();
        for (index, step) in delivered.iter().enumerate() {
            first.entry(*step).or_insert(index);
        }
        prop_assert_eq!(first.keys().copied().collect::<Vec<_>>(), (0..log.next).collect::<Vec<_>>());
        let order: Vec<usize> = first.values().copied().collect();
        prop_assert!(order.is_sorted(), "{delivered:?}");
        prop_assert_eq!(follower.losses(), Losses::default());
    }
}
