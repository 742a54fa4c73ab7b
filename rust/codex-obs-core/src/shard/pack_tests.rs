use std::collections::BTreeMap;

use super::super::rotate::shift;
use super::*;
use crate::pulse::Pulse;

/// The lines that a reader would read, in order, by the rules of names alone.
fn read(base: &Path) -> Vec<String> {
    let shards = Shards::of(base).unwrap();
    let archives = shards.archives.iter().map(|&ordinal| (Archive::Packed.path(base, ordinal), Coding::Zstandard));
    let numbers = shards.numbers.iter().rev().map(|&number| {
        let coding = coding_of(base, number).unwrap();
        (shard_path(base, number, coding), coding)
    });
    let mut text = String::new();
    for (path, coding) in archives.chain(numbers) {
        let file = File::open(&path).unwrap();
        let _ = match coding {
            Coding::Plain => io::BufReader::new(file).read_to_string(&mut text),
            Coding::Gzip => flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text),
            Coding::Zstandard => zstd::Decoder::new(file).unwrap().read_to_string(&mut text),
        };
    }
    text.push_str(&fs::read_to_string(base).unwrap_or_default());
    text.lines().map(str::to_owned).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn log(folder: &Path, shards: u64) -> (PathBuf, Vec<String>) {
    let base = folder.join("metrics.ndjson");
    for number in 1..=shards {
        let step = shards - number;
        let text = format!("{{\"run_id\":\"r\",\"step\":{step}}}\n{{\"run_id\":\"r\",\"step\":{step}}}\n");
        fs::write(shard_path(&base, number, Coding::Plain), text).unwrap();
    }
    fs::write(&base, "{\"now\":1}\n").unwrap();
    let all = read(&base);
    (base, all)
}

fn names(folder: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())).collect()
}

#[test]
fn the_oldest_shards_beyond_the_count_become_archives_with_all_that_is_needed_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (base, all) = log(folder.path(), 5);
    assert_eq!(pack_all(&base, 2, 0o600, &|| true).unwrap(), 3);
    let found: Vec<String> = names(folder.path()).into_keys().collect();
    let expected = ["metrics.ndjson", "metrics.ndjson.1", "metrics.ndjson.2"];
    let archives = [1, 2, 3].map(|ordinal| format!("metrics.ndjson.archive-{ordinal:06}.zst"));
    assert_eq!(found, expected.map(str::to_owned).into_iter().chain(archives).collect::<Vec<_>>());
    assert_eq!(read(&base), all);
    for ordinal in 1..=3 {
        let path = Archive::Packed.path(&base, ordinal);
        let footer = Footer::of(&File::open(&path).unwrap(), &path).unwrap().unwrap();
        let step = i64::try_from(ordinal).unwrap() - 1;
        assert_eq!((footer.ordinal, footer.rows, footer.largest_step), (ordinal, 2, Some(step)));
        assert_eq!(footer.own, FileId::at(&path).unwrap().unwrap());
    }
    assert!(!is_due(&base, 2).unwrap());
    assert_eq!(pack_all(&base, 2, 0o600, &|| true).unwrap(), 0);
}

#[test]
fn what_others_packed_is_packed_anew_and_a_copy_that_was_not_read_stays_unread() {
    let folder = tempfile::tempdir().unwrap();
    let (base, all) = log(folder.path(), 4);
    let text = |number| fs::read_to_string(shard_path(&base, number, Coding::Plain)).unwrap();
    fs::write(shard_path(&base, 4, Coding::Gzip), gzip(&text(4))).unwrap();
    fs::remove_file(shard_path(&base, 4, Coding::Plain)).unwrap();
    fs::write(shard_path(&base, 3, Coding::Zstandard), zstd::encode_all(text(3).as_bytes(), 1).unwrap()).unwrap();
    fs::remove_file(shard_path(&base, 3, Coding::Plain)).unwrap();
    fs::write(shard_path(&base, 2, Coding::Gzip), gzip("another\n")).unwrap();
    fs::write(shard_path(&base, 2, Coding::Zstandard), zstd::encode_all(&b"a third\n"[..], 1).unwrap()).unwrap();
    assert_eq!(read(&base), all);
    assert_eq!(pack_all(&base, 0, 0o600, &|| true).unwrap(), 4);
    assert_eq!(read(&base), all);
    assert!(folder.path().join("metrics.ndjson.archive-000003.gz").exists());
}

#[test]
fn an_archive_that_cannot_be_unpacked_stays_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (base, _) = log(folder.path(), 2);
    fs::remove_file(shard_path(&base, 2, Coding::Plain)).unwrap();
    let whole = gzip(&"{\"step\":1}\n".repeat(100_000));
    fs::write(shard_path(&base, 2, Coding::Gzip), &whole[..whole.len() / 2]).unwrap();
    let before = names(folder.path());
    let message = pack_all(&base, 1, 0o600, &|| true).unwrap_err().to_string();
    assert!(message.contains("metrics.ndjson.2.gz") && message.contains("move it elsewhere"), "{message}");
    assert_eq!(names(folder.path()), before);
}

/// Every state that a death between two steps leaves, also with a rotation in between.
#[test]
fn a_death_between_any_two_steps_leaves_every_row_once_and_the_next_packer_finishes() {
    for rotates in [false, true] {
        for stage in 0..6 {
            let folder = tempfile::tempdir().unwrap();
            let (base, mut all) = log(folder.path(), 3);
            let names_lock = Names::default();
            let mut job = Job::begin(&base, 2, 0o600, &names_lock).unwrap().unwrap();
            while !job.step().unwrap() {}
            let (zst, plain) = (shard_path(&base, 3, Coding::Zstandard), shard_path(&base, 3, Coding::Plain));
            if stage > 0 {
                drop(job.finish().unwrap());
            }
            if stage > 1 {
                fs::rename(draft_path(&base), &zst).unwrap();
            }
            if stage == 3 {
                // In a rotation that had moved the archive out of the way.
                let mut waiting = zst.clone().into_os_string();
                waiting.push(MOVING);
                fs::rename(&zst, waiting).unwrap();
            }
            if stage > 3 {
                fs::remove_file(&plain).unwrap();
            }
            if stage > 4 {
                fs::rename(&zst, Archive::Packed.path(&base, 1)).unwrap();
            }
            assert_eq!(read(&base), all, "stage {stage}");
            if rotates {
                shift(&base, &Pulse::default()).unwrap();
                fs::write(&base, "{\"now\":2}\n").unwrap();
                all.push("{\"now\":2}".to_owned());
                assert_eq!(read(&base), all, "stage {stage}, rotated");
            }
            pack_all(&base, 2, 0o600, &|| true).unwrap();
            assert_eq!(read(&base), all, "stage {stage}, finished");
            let left: Vec<String> =
                names(folder.path()).into_keys().filter(|name| !name.contains("archive-0")).collect();
            assert_eq!(left, ["metrics.ndjson", "metrics.ndjson.1", "metrics.ndjson.2"], "stage {stage}");
        }
    }
}

#[test]
fn a_shard_that_moves_changes_or_goes_while_it_is_packed_is_neither_lost_nor_doubled() {
    type Meddle = fn(&Path);
    let meddles: [(Meddle, bool); 4] = [
        (|base| shift(base, &Pulse::default()).unwrap(), true),
        (|base| fs::remove_file(shard_path(base, 2, Coding::Plain)).unwrap(), false),
        (|base| fs::write(shard_path(base, 2, Coding::Plain), "{\"longer\":1}\n".repeat(9)).unwrap(), false),
        (|base| fs::write(shard_path(base, 9, Coding::Plain), "{\"older\":1}\n").unwrap(), false),
    ];
    for (index, (meddle, placed)) in meddles.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let (base, _) = log(folder.path(), 2);
        let names_lock = Names::default();
        let mut job = Job::begin(&base, 1, 0o600, &names_lock).unwrap().unwrap();
        while !job.step().unwrap() {}
        let packed = job.finish().unwrap();
        meddle(&base);
        let all = read(&base);
        assert_eq!(packed.place(&names_lock, &|_, _| Ok(())).unwrap(), placed, "{index}");
        assert_eq!(read(&base), all, "{index}");
        assert!(!draft_path(&base).exists());
    }
}

#[test]
fn a_shard_stays_as_it_is_until_the_journal_has_passed_it() {
    let folder = tempfile::tempdir().unwrap();
    let (base, all) = log(folder.path(), 3);
    let before = names(folder.path());
    let names_lock = Names::default();
    let oldest = FileId::at(&shard_path(&base, 3, Coding::Plain)).unwrap().unwrap();
    let mut job = Job::begin(&base, 2, 0o600, &names_lock).unwrap().unwrap();
    while !job.step().unwrap() {}
    let refuse = |id, number| {
        assert_eq!((id, number), (oldest, 3));
        Err(Error::io("sync", &base, io::ErrorKind::StorageFull.into()))
    };
    assert!(job.finish().unwrap().place(&names_lock, &refuse).is_err());
    Job::discard(&base).unwrap();
    assert_eq!(names(folder.path()), before);
    assert_eq!(pack_all(&base, 2, 0o600, &|| true).unwrap(), 1);
    assert_eq!(read(&base), all);
}

#[test]
fn identical_shards_are_told_apart_by_their_ordinals() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("metrics.ndjson");
    for number in 0..=6 {
        fs::write(shard_path(&base, number, Coding::Plain), "{\"a\":1}\n{\"a\":1}\n").unwrap();
    }
    for keep in [4, 3, 0] {
        pack_all(&base, keep, 0o600, &|| true).unwrap();
        assert_eq!(read(&base).len(), 14);
    }
    assert_eq!(Shards::of(&base).unwrap().archives.len(), 6);
}

#[test]
fn a_shard_that_comes_back_behind_its_archive_is_not_packed_twice() {
    for keep in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let (base, all) = log(folder.path(), 5);
        let (last, aside) = (shard_path(&base, keep + 1, Coding::Plain), folder.path().join("aside"));
        fs::hard_link(&last, &aside).unwrap();
        pack_all(&base, keep, 0o600, &|| true).unwrap();
        assert!(!last.exists());
        // As if its deletion had been answered and was not done.
        fs::rename(&aside, &last).unwrap();
        pack_all(&base, keep, 0o600, &|| true).unwrap();
        assert_eq!(read(&base), all, "{keep}");
        assert!(!last.exists());
        // An equal one that is another file is no copy of it.
        fs::write(&last, fs::read(folder.path().join("metrics.ndjson")).unwrap()).unwrap();
        let more = read(&base);
        pack_all(&base, keep, 0o600, &|| true).unwrap();
        assert_eq!(read(&base), more, "{keep}");
    }
}

#[test]
fn an_archive_that_got_a_number_too_late_is_not_packed_anew() {
    for number in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        let (base, _) = log(folder.path(), 5);
        // Made before, as by a packer that died.
        pack_all(&base, 4, 0o600, &|| true).unwrap();
        let stale = fs::read(Archive::Packed.path(&base, 1)).unwrap();
        pack_all(&base, number - 1, 0o600, &|| true).unwrap();
        let all = read(&base);
        fs::write(shard_path(&base, number, Coding::Zstandard), stale).unwrap();
        pack_all(&base, number - 1, 0o600, &|| true).unwrap();
        assert_eq!(read(&base), all, "{number}");
    }
}

#[test]
fn a_shard_that_goes_once_its_archive_stands_beside_it_leaves_the_archive() {
    for coding in [Coding::Plain, Coding::Gzip] {
        let folder = tempfile::tempdir().unwrap();
        let (base, all) = log(folder.path(), 3);
        let path = shard_path(&base, 3, coding);
        if coding == Coding::Gzip {
            let plain = shard_path(&base, 3, Coding::Plain);
            fs::write(&path, gzip(&fs::read_to_string(&plain).unwrap())).unwrap();
            fs::remove_file(plain).unwrap();
        }
        let names_lock = Names::default();
        let mut job = Job::begin(&base, 2, 0o600, &names_lock).unwrap().unwrap();
        while !job.step().unwrap() {}
        let packed = job.finish().unwrap();
        fs::rename(draft_path(&base), shard_path(&base, 3, Coding::Zstandard)).unwrap();
        // A deletion by an earlier packer that was answered with an error and is done now.
        fs::remove_file(&path).unwrap();
        assert!(packed.replace(&names_lock).unwrap());
        assert_eq!(read(&base), all);
        assert!(Archive::Packed.path(&base, 1).exists());
    }
}

#[test]
fn a_shard_that_changes_once_its_archive_stands_beside_it_stays_and_the_archive_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (base, mut all) = log(folder.path(), 3);
    let names_lock = Names::default();
    let mut job = Job::begin(&base, 2, 0o600, &names_lock).unwrap().unwrap();
    while !job.step().unwrap() {}
    let packed = job.finish().unwrap();
    fs::rename(draft_path(&base), shard_path(&base, 3, Coding::Zstandard)).unwrap();
    let path = shard_path(&base, 3, Coding::Plain);
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"more\":1}\n").unwrap();
    all.insert(2, "{\"more\":1}".to_owned());
    assert!(!packed.replace(&names_lock).unwrap());
    assert_eq!(read(&base), all);
    assert!(!shard_path(&base, 3, Coding::Zstandard).exists());
}
