//! The recovery of a journal that holds anything, beside files that hold anything: it never panics, touches nothing but
//! the run's own files, leaves whole lines only, and has nothing to do the second time. What was not damaged comes back
//! whole: no row is lost and none is there twice.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use codex_obs_core::encode::RowEncoder;
use codex_obs_core::encode::line::{Tracking, tracking};
use codex_obs_core::fs::FileId;
use codex_obs_core::journal::cursor::{self, Cursor, Extent, Intent};
use codex_obs_core::journal::frame::{Call, Frame, FrameBuilder, LineFile, Value, line_frame};
use codex_obs_core::journal::identity::Identity;
use codex_obs_core::journal::memory::Backing;
use codex_obs_core::journal::ring::{Appended, Ring};
use codex_obs_core::paths::FileKind;
use codex_obs_core::process::Process;
use codex_obs_core::record::Tags;
use codex_obs_core::recovery::run::recover_directory;

use super::input::Input;

const RING_BYTES: u64 = 4096;
const OFF: u64 = u64::MAX;

/// What of a frame goes to which file.
struct Accepted {
    start: Cursor,
    end: Cursor,
    file: FileKind,
    lines: Vec<String>,
}

/// A run whose writer died.
struct Scene<'a> {
    directory: &'a Path,
    ring: Ring,
    accepted: Vec<Accepted>,
    /// Frames that are in the files, and lines of the next one.
    done: (usize, usize),
    dropped: u64,
    dead: bool,
    forged: bool,
}

/// Makes a run by `bytes`, damages it by them, and recovers it.
pub fn check(bytes: &[u8]) {
    let root = tempfile::tempdir_in(scratch()).expect("there is room for a folder");
    let directory = root.path().join("run");
    fs::create_dir_all(directory.join(".codex_obs")).expect("a folder can be made");
    fs::write(root.path().join("metrics.ndjson"), "beside the run").expect("a file can be made");
    let mut input = Input::new(bytes);
    let same_boot = input.byte().is_multiple_of(2);
    let mut scene = Scene::new(&directory, same_boot, &mut input);
    for _ in 0..input.byte() % 48 {
        if !scene.dead {
            scene.play(&mut input);
        }
    }
    let Scene { ring, accepted, dropped, forged, .. } = scene;
    drop(ring);
    let damaged = damage(&directory, &mut input) || forged;

    let before = tree(&directory);
    let recovered = recover_directory(&directory, true).expect("nothing but the journal is damaged");
    assert_eq!(fs::read(root.path().join("metrics.ndjson")).expect("it is still there"), b"beside the run");
    assert_eq!(fs::read_dir(root.path()).expect("the folder can be read").count(), 2);
    let files = tree(&directory);
    for (name, content) in &files {
        let is_log = name.contains(".ndjson") && !name.starts_with(".codex_obs");
        assert!(!is_log || content.is_empty() || content.ends_with(b"\n"), "{name} ends in half a line");
        assert!(is_log || name.starts_with(".codex_obs/"), "{name} is none of the run's files");
        // Whoever follows a file sees it grow only, or lose half a line.
        let lines = before.get(name).filter(|_| is_log).map_or(&[][..], |lines| lines);
        let whole = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        assert!(content.starts_with(&lines[..whole]), "{name} has lost a line");
    }
    if !damaged {
        assert_eq!((recovered.frames_damaged, recovered.journals_damaged), (0, 0));
        assert_eq!(recovered.rows_dropped, dropped);
        let lines = |file: FileKind| -> String {
            accepted.iter().filter(|frame| frame.file == file).flat_map(|frame| &frame.lines).cloned().collect()
        };
        let found = |name: &str| files.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(found("metrics.ndjson").unwrap_or_default(), lines(FileKind::Metrics));
        let summary = found("tracking_summary.ndjson").unwrap_or_default();
        let rest = summary.strip_prefix(&lines(FileKind::Summary)).expect("every line is there, in order");
        assert_eq!(rest.lines().count(), usize::from(same_boot && dropped > 0));
    }

    let again = recover_directory(&directory, true).expect("nothing is left to do");
    assert_eq!((again.journals, again.rows_recovered, again.torn_tails), (0, 0, 0));
    assert!(tree(&directory) == files, "the second recovery changes nothing");
}

impl<'a> Scene<'a> {
    fn new(directory: &'a Path, same_boot: bool, input: &mut Input<'_>) -> Self {
        let mut process = Process { start_time: 1, ..Process::current() };
        if !same_boot {
            process.boot_id = "before".into();
        }
        let (run_id, stream) = ("r1".into(), "main".into());
        let (max_shard_bytes, max_shard_age, backup_count) = (OFF, OFF, OFF);
        let identity = Identity {
            process,
            run_id,
            stream,
            legacy: false,
            file_mode: 0o600,
            max_shard_bytes,
            max_shard_age,
            backup_count,
            packs: false,
        };
        let path = directory.join(".codex_obs/journal-main");
        let file = codex_obs_core::fs::create_new(&path, 0o600).expect("a journal can be made");
        let backing = if input.byte().is_multiple_of(2) { Backing::Auto } else { Backing::Mirrored };
        let ring = Ring::create(file, &path, RING_BYTES, backing, &identity).expect("a ring can be made");
        Self { directory, ring, accepted: Vec::new(), done: (0, 0), dropped: 0, dead: false, forged: false }
    }

    /// One thing that a writer does.
    fn play(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0..=2 => self.log(1 + u32::from(input.byte() % 6)),
            3 => {
                let extra = serde_json::json!({ "number": self.accepted.len(), "text": input.text(40) });
                // As everywhere, what is not ASCII is escaped.
                let extra: String = extra.to_string().chars().filter(char::is_ascii).collect();
                let pieces = Tracking { component: "test", status: "enabled", reason: None, extra: extra.as_bytes() };
                let line = String::from_utf8(tracking(1, &pieces)).expect("lines are ASCII");
                self.append(&mut line_frame(LineFile::Summary, line.as_bytes()), FileKind::Summary, vec![line]);
            }
            4 | 5 => self.write(input),
            6 => {
                self.dropped = input.byte().into();
                self.ring.store_dropped(self.dropped).expect("memory can be written");
            }
            _ => self.forge(input),
        }
    }

    fn log(&mut self, metrics: u32) {
        let step = self.accepted.len() as i64;
        let call = Call { timestamp: 1, step: Some(step), split: "s", dataset: None, tags: &Tags::default() };
        let mut builder = FrameBuilder::default();
        builder.begin(&call, 1024);
        for metric in 0..metrics {
            builder.float(&format!("m{metric}"), f64::from(metric));
        }
        builder.finish();
        let mut encoder = RowEncoder::new("r1", false);
        let (frame, _) = Frame::parse(builder.bytes_mut()).expect("what was built is a frame");
        let call = frame.metrics().expect("and has a call");
        encoder.call(&call);
        let line = |(name, value): (&str, Value<'_>)| {
            let mut line = Vec::new();
            encoder.row(name, &value, &mut line, &mut Vec::new());
            String::from_utf8(line).expect("lines are ASCII")
        };
        let lines = call.rows().map(line).collect();
        self.append(builder.bytes_mut(), FileKind::Metrics, lines);
    }

    fn append(&mut self, frame: &mut [u8], file: FileKind, lines: Vec<String>) {
        let (start, _) = self.ring.end();
        let (appended, saved) = self.ring.append(&mut self.ring.lock(), frame);
        saved.expect("memory can be written");
        if appended != Appended::Full {
            self.accepted.push(Accepted { start, end: self.ring.end().0, file, lines });
        }
    }

    /// A frame of a writer with a bug: right checksum, any content.
    fn forge(&mut self, input: &mut Input<'_>) {
        let (kind, flags) = (input.byte() % 5, input.byte());
        let length = usize::from(input.byte());
        let mut frame = vec![0; 32];
        frame.extend_from_slice(input.take(length));
        frame.resize(frame.len().next_multiple_of(8), 0);
        let length = (frame.len() as u32).to_le_bytes();
        frame[8..12].copy_from_slice(&length);
        (frame[12], frame[13], frame[14]) = (2, kind, flags);
        let (_, saved) = self.ring.append(&mut self.ring.lock(), &mut frame);
        saved.expect("memory can be written");
        self.forged = true;
    }

    /// What the writer thread does with the next lines, to the end or until it dies on the way.
    fn write(&mut self, input: &mut Input<'_>) {
        let (mut frame, mut row) = self.done;
        let Some(first) = self.accepted.get(frame).filter(|_| !self.forged) else { return };
        let file = first.file;
        let mut bytes = Vec::new();
        for _ in 0..=input.byte() % 16 {
            let Some(next) = self.accepted.get(frame).filter(|next| next.file == file) else { break };
            bytes.extend_from_slice(next.lines[row].as_bytes());
            row += 1;
            if row == next.lines.len() {
                (frame, row) = (frame + 1, 0);
            }
        }
        let after = match self.accepted.get(frame) {
            Some(next) => Cursor { rows: row as u64, ..next.start },
            None => self.accepted[frame - 1].end,
        };
        let path = self.directory.join(format!("{}.ndjson", file.base()));
        let mut shard = fs::File::options().create(true).append(true).open(&path).expect("a file can be opened");
        let id = FileId::of(&shard, &path).expect("it is open");
        let length = shard.metadata().expect("it is open").len();
        let extents = [None, Some(Extent { file: file as u64, id, length })];
        let memory = self.ring.memory();
        cursor::begin(memory, &Intent { after, extents }).expect("memory can be written");
        if input.byte().is_multiple_of(8) {
            self.dead = true;
            bytes.truncate(input.short() % (bytes.len() + 1));
        }
        shard.write_all(&bytes).expect("a file can be written");
        if !self.dead {
            cursor::complete(memory).expect("memory can be written");
            self.ring.release(after.position);
            self.done = (frame, row);
        }
    }
}

/// Where control words stand, which decide most.
const CONTROL: [usize; 12] = [8, 16, 64, 128, 192, 256, 512, 520, 528, 560, 1024, 4096];

/// Changes the journal and the files as no writer would. Gives whether something was changed.
fn damage(directory: &Path, input: &mut Input<'_>) -> bool {
    let journal = directory.join(".codex_obs/journal-main");
    let count = input.byte() % 8;
    for _ in 0..count {
        match input.byte() % 4 {
            kind @ (0 | 1) => {
                let place = input.short();
                let at = if kind == 0 { place } else { CONTROL[place % CONTROL.len()] + place / CONTROL.len() % 64 };
                let length = usize::from(1 + input.byte() % 32);
                let mut bytes = fs::read(&journal).expect("the journal can be read");
                let at = at.min(bytes.len());
                let room = &mut bytes[at..];
                let taken = input.take(length.min(room.len()));
                room[..taken.len()].copy_from_slice(taken);
                fs::write(&journal, bytes).expect("the journal can be written");
            }
            2 => {
                let file = fs::File::options().write(true).open(&journal).expect("the journal can be opened");
                file.set_len(input.short() as u64).expect("it can be cut");
            }
            _ => {
                const NAMES: [&str; 5] = ["metrics", "tracking_summary", "params", "run", "metrics_manifest"];
                let name = NAMES[usize::from(input.byte()) % NAMES.len()];
                let rotated = if input.byte().is_multiple_of(4) { ".1" } else { "" };
                let path = directory.join(format!("{name}.ndjson{rotated}"));
                let mut shard = fs::File::options().create(true).append(true).open(path).expect("a file can be made");
                let length = usize::from(input.byte());
                shard.write_all(input.take(length)).expect("a file can be written");
                if !rotated.is_empty() {
                    // Nobody appends to a rotated shard, so nobody mends it.
                    shard.write_all(b"\n").expect("a file can be written");
                }
            }
        }
    }
    count > 0
}

/// Every file of a run with its content.
fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["", ".codex_obs/"] {
        for entry in fs::read_dir(directory.join(folder)).expect("the folder can be read") {
            let entry = entry.expect("the folder can be read");
            let name = entry.file_name().into_string().expect("names are text");
            // A lock says who had it last.
            if entry.path().is_file() && !name.starts_with("lock-") {
                files.insert(format!("{folder}{name}"), fs::read(entry.path()).expect("a file can be read"));
            }
        }
    }
    files
}

/// A folder in memory, where there is one.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
