//! Files that another program makes shorter while the writer of this process appends to them.

use std::fs;

use super::tests::{Log, line, open, rest};
use super::*;
use crate::paths::{Coding, shard_path};
use crate::shard::hold::Hold;

/// Makes the log shorter, as another program.
fn cut(log: &Log, length: u64) {
    fs::OpenOptions::new().write(true).open(&log.base).unwrap().set_len(length).unwrap();
}

/// A log to which the writer of this process appends, and what is told of that.
struct Told {
    log: Log,
    feed: Arc<Feed>,
    follower: Follower,
}

impl Told {
    fn new() -> Self {
        let log = Log::new();
        let mut follower = open(log.folder.path(), None);
        let feed = Arc::new(Feed::new().0);
        follower.ask(Arc::clone(&feed), Arc::new(Hold::new(1)).part());
        Self { log, feed, follower }
    }

    fn append(&mut self, count: i64) {
        let length = fs::metadata(&self.log.base).unwrap().len();
        self.log.append(count);
        let file = FileId::at(&self.log.base).unwrap().unwrap();
        self.feed.offer(file, length, &fs::read(&self.log.base).unwrap()[length as usize..]);
    }
}

#[test]
fn rows_that_were_cut_off_before_they_were_read_are_a_gap() {
    // Lines that were delivered of 20, that stay, and that a copy has; gaps.
    let cases = [
        (18, 0, None, 1),
        (18, 10, None, 1),
        (18, 19, None, 1),
        (20, 0, None, 0),
        (20, 10, None, 0),
        (18, 0, Some(20), 0),
        (18, 0, Some(19), 1),
    ];
    for ((delivered, stay, copy, gaps), looks) in cases.into_iter().flat_map(|case| [(case, false), (case, true)]) {
        let mut told = Told::new();
        told.append(delivered);
        assert_eq!(rest(&mut told.follower).len() as i64, delivered);
        if delivered < 20 {
            told.append(20 - delivered);
        }
        if let Some(lines) = copy {
            let text: String = (0..lines).map(line).collect();
            fs::write(shard_path(&told.log.base, 1, Coding::Plain), text).unwrap();
        }
        cut(&told.log, (0..stay).map(|step| line(step).len() as u64).sum());
        let case = format!("{delivered} {stay} {copy:?} {looks}");
        if looks {
            // Before the writer knows.
            rest(&mut told.follower);
        }
        told.append(5);
        let steps = rest(&mut told.follower);
        assert!(steps.ends_with(&[20, 21, 22, 23, 24]), "{case}: {steps:?}");
        told.append(5);
        assert_eq!(rest(&mut told.follower), [25, 26, 27, 28, 29], "{case}");
        assert_eq!(told.follower.losses().gaps, gaps, "{case}");
    }
}

#[test]
fn a_file_that_was_cut_twice_in_an_outage_is_a_gap() {
    let mut told = Told::new();
    told.append(18);
    assert_eq!(rest(&mut told.follower).len(), 18);
    told.append(2);
    for _ in 0..2 {
        cut(&told.log, 0);
        told.append(5);
    }
    assert_eq!(rest(&mut told.follower), [25, 26, 27, 28, 29]);
    assert_eq!(told.follower.losses().gaps, 1);
    // What is delivered is no gap afterwards.
    cut(&told.log, 0);
    told.append(5);
    assert_eq!((rest(&mut told.follower), told.follower.losses().gaps), ((30..35).collect(), 1));
}
