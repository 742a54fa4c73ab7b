//! Journals of the first version, as the program before this one left them, are still recovered.

use std::io::Read;
use std::path::Path;

use codex_obs_core::clock::Clock;
use codex_obs_core::fs::FileId;
use codex_obs_core::journal::identity::Identity;
use codex_obs_core::journal::layout::{OFFSET_BLOCKS, OFFSET_DONE, OFFSET_SLOTS};
use codex_obs_core::reading::read_rows;
use codex_obs_core::recovery::pending::recover_for_reading;
use codex_obs_core::recovery::run::recover_directory;

use crate::recovery::gone;
use crate::support::text;

/// Puts a golden journal into a new run, as that of a process of this boot that is gone.
fn put(directory: &Path, name: &str, damage: impl FnOnce(&mut [u8])) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(golden).unwrap()).read_to_end(&mut bytes).unwrap();
    let block = &mut bytes[OFFSET_BLOCKS[0]..];
    let identity = Identity { process: gone(), ..Identity::from_bytes(block).unwrap() }.to_bytes();
    block[..identity.len()].copy_from_slice(&identity);
    damage(&mut bytes);
    std::fs::create_dir_all(directory.join(".codex_obs")).unwrap();
    let path = directory.join(".codex_obs/journal-main");
    std::fs::write(&path, bytes).unwrap();
}

fn row(step: i64, metric: &str) -> String {
    let time = codex_obs_core::record::timestamp::format(1_700_000_000_000_000 + step);
    let (value, manifest) = match metric {
        "loss" => (format!("{:?}", step as f64 / 4.0), String::new()),
        "ok" => (u8::from(step % 2 == 0).to_string(), String::new()),
        _ => ("null".to_owned(), format!("\"manifest_id\":\"manifest-{}\",", format!("{step:02x}").repeat(16))),
    };
    format!(
        "{{\"$schema\":\"https://codexml.ai/schemas/run_metrics.schema.json\",\"schema_version\":\"v1\",\"timestamp\":\"{}\",\
         \"run_id\":\"golden\",\"step\":{step},\"split\":\"eval\",\"metric\":\"{metric}\",\"value\":{value},\"dataset\":\"d\",\
         \"tags\":{{{manifest}\"phase\":\"warm\"}}}}\n",
        std::str::from_utf8(&time).unwrap()
    )
}

fn rows(steps: impl IntoIterator<Item = i64>) -> String {
    steps.into_iter().flat_map(|step| ["loss", "ok", "hist"].map(|metric| row(step, metric))).collect()
}

#[test]
fn frames_that_waited_come_back() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "journal-v1-waiting.gz", |_| ());
    assert_eq!(recover_directory(folder.path(), false).unwrap().rows_recovered, 24);
    assert_eq!(text(folder.path(), "metrics.ndjson"), rows(0..8));
    assert_eq!(text(folder.path(), "metrics_manifest.ndjson").lines().count(), 8);
    assert!(text(folder.path(), "params.ndjson").ends_with("\"config\":{},\"derived\":{}}\n"));
    assert!(!folder.path().join(".codex_obs/journal-main").exists());
}

#[test]
fn an_append_that_was_begun_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, manifest) = (folder.path().join("metrics.ndjson"), folder.path().join("metrics_manifest.ndjson"));
    std::fs::write(&metrics, rows(0..2)).unwrap();
    std::fs::write(&manifest, "{}\n{}\n").unwrap();
    let lengths = [std::fs::metadata(&manifest).unwrap().len(), std::fs::metadata(&metrics).unwrap().len()];
    let ids = [&manifest, &metrics].map(|path| FileId::at(path).unwrap().unwrap());
    std::fs::write(&metrics, rows(0..2) + &row(2, "loss") + &row(2, "ok")[..100]).unwrap();
    put(folder.path(), "journal-v1-begun.gz", |bytes| {
        for (extent, (id, length)) in ids.into_iter().zip(lengths).enumerate() {
            let at = OFFSET_SLOTS[0] + 8 * (4 + 4 * extent);
            for (word, number) in [id.device, id.inode, length].into_iter().enumerate() {
                bytes[at + 8 * (word + 1)..][..8].copy_from_slice(&number.to_le_bytes());
            }
        }
    });
    assert_eq!(recover_directory(folder.path(), false).unwrap().rows_recovered, 12);
    assert_eq!(text(folder.path(), "metrics.ndjson"), rows(0..6));
    assert_eq!(text(folder.path(), "metrics_manifest.ndjson").lines().count(), 6);
}

#[test]
fn a_ring_after_many_laps_goes_on_amid_a_call_and_says_what_was_dropped() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "journal-v1-laps.gz", |_| ());
    let recovered = recover_directory(folder.path(), false).unwrap();
    assert_eq!((recovered.rows_recovered, recovered.rows_dropped, recovered.rows_damaged), (29, 7, 0));
    let expected = rows(190..200);
    assert_eq!(text(folder.path(), "metrics.ndjson"), expected[expected.find('\n').unwrap() + 1..]);
}

#[test]
fn rows_around_damage_come_back_and_the_damaged_ones_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    // The last byte of the third frame's value: frames of this golden file are as long as one another.
    let mut length = 0;
    put(folder.path(), "journal-v1-waiting.gz", |bytes| {
        let ring = &mut bytes[16 << 10..];
        length = u32::from_le_bytes(ring[8..12].try_into().unwrap()) as usize;
        ring[2 * length + length / 2] ^= 8;
    });
    let recovered = recover_directory(folder.path(), false).unwrap();
    assert_eq!((recovered.rows_recovered, recovered.rows_damaged, recovered.frames_damaged), (21, 3, 1));
    assert_eq!(text(folder.path(), "metrics.ndjson"), rows((0..2).chain(3..8)));
}

#[test]
fn a_cursor_that_leads_nowhere_loses_nothing() {
    for (at, flip) in
        [(OFFSET_SLOTS[0], 0x40), (OFFSET_SLOTS[0] + 8, 1), (OFFSET_SLOTS[0] + 14, 1), (OFFSET_SLOTS[0] + 6, 2)]
    {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "journal-v1-waiting.gz", |bytes| bytes[at] ^= flip);
        let recovered = recover_directory(folder.path(), false).unwrap();
        assert_eq!((recovered.rows_recovered, recovered.rows_damaged), (24, 0), "{at}");
        assert_eq!(text(folder.path(), "metrics.ndjson"), rows(0..8));
    }
}

/// Has the slot of intent `number` name the files at `paths`, manifest first, with the lengths `noted`.
fn name_files(bytes: &mut [u8], number: u64, paths: [&Path; 2], noted: [u64; 2]) {
    for (extent, (path, length)) in paths.into_iter().zip(noted).enumerate() {
        let id = FileId::at(path).unwrap().unwrap();
        let at = OFFSET_SLOTS[(number % 2) as usize] + 8 * (4 + 4 * extent);
        for (word, number) in [1 - extent as u64, id.device, id.inode, length].into_iter().enumerate() {
            bytes[at + 8 * word..][..8].copy_from_slice(&number.to_le_bytes());
        }
    }
}

/// The number of the newest intent that was carried out.
fn done(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[OFFSET_DONE..][..8].try_into().unwrap())
}

fn rows_read(directory: &Path) -> usize {
    let (batches, _) = read_rows(&[directory.to_owned()], true, &Clock::System, &mut |_| true).unwrap();
    batches.iter().map(arrow_array::RecordBatch::num_rows).sum()
}

#[test]
fn in_a_copy_the_rows_that_were_copied_with_their_files_do_not_come_twice() {
    // What the files of the copy hold of a journal that says that nothing was written: it was copied before them.
    for (current, rotated, appended) in [
        (rows(0..8), String::new(), 0),
        (rows(0..5), String::new(), 9),
        (rows(6..9), rows(0..6), 0),
        (String::new(), rows(0..3), 15),
        (rows(0..2) + &row(2, "loss"), String::new(), 17),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metrics.ndjson"), &current).unwrap();
        if !rotated.is_empty() {
            std::fs::write(folder.path().join("metrics.ndjson.1"), &rotated).unwrap();
        }
        put(folder.path(), "journal-v1-waiting.gz", |_| ());
        let held = (current.lines().count() + rotated.lines().count()) as u64;
        assert_eq!(recover_for_reading(folder.path(), &Clock::System).unwrap().0.rows_recovered, appended, "{current}");
        assert_eq!(rows_read(folder.path()) as u64, held + appended);
    }
}

#[test]
fn a_cursor_that_names_other_shards_than_those_beside_it_is_not_believed() {
    // The cursor is one row behind step 190; the files of the copy are older, as old, and newer than that.
    for steps in [158..180, 160..190, 170..195, 180..200] {
        let (folder, original) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let names = ["metrics_manifest.ndjson", "metrics.ndjson"];
        let [manifest, metrics] = names.map(|name| original.path().join(name));
        std::fs::write(&metrics, rows(steps.clone())).unwrap();
        std::fs::write(&manifest, "{}\n").unwrap();
        for (name, path) in names.iter().zip([&manifest, &metrics]) {
            std::fs::copy(path, folder.path().join(name)).unwrap();
        }
        put(folder.path(), "journal-v1-laps.gz", |bytes| name_files(bytes, done(bytes), [&manifest, &metrics], [0, 0]));
        recover_directory(folder.path(), false).unwrap();
        assert!(text(folder.path(), "metrics.ndjson") == rows(steps.start..200), "{steps:?}");
    }
}

#[test]
fn a_journal_that_is_older_than_the_files_that_it_names_is_not_believed() {
    for (steps, appended) in [(0..190, 29), (0..196, 12), (0..200, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, manifest) = (folder.path().join("metrics.ndjson"), folder.path().join("metrics_manifest.ndjson"));
        // The appended row of the step at the cursor stands in the file that was rotated since.
        let before = rows(steps.clone()) + &if steps.end == 190 { row(190, "loss") } else { String::new() };
        std::fs::write(&metrics, &before).unwrap();
        std::fs::write(&manifest, "{}\n").unwrap();
        put(folder.path(), "journal-v1-laps.gz", |bytes| name_files(bytes, done(bytes), [&manifest, &metrics], [0, 0]));
        std::fs::rename(&metrics, folder.path().join("metrics.ndjson.1")).unwrap();
        assert_eq!(recover_directory(folder.path(), false).unwrap().rows_recovered, appended, "{steps:?}");
        let added = std::fs::read_to_string(&metrics).unwrap_or_default();
        assert!(before + &added == rows(0..200), "{steps:?}");
    }
}

#[test]
fn the_cursor_of_an_original_is_believed_wherever_its_older_rows_are() {
    for rotated in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, manifest) = (folder.path().join("metrics.ndjson"), folder.path().join("metrics_manifest.ndjson"));
        // Another program has emptied the files since.
        std::fs::write(&metrics, "{\"a\":1}\n").unwrap();
        std::fs::write(&manifest, "{}\n").unwrap();
        put(folder.path(), "journal-v1-laps.gz", |bytes| name_files(bytes, done(bytes), [&manifest, &metrics], [3, 8]));
        if rotated {
            std::fs::rename(&metrics, folder.path().join("metrics.ndjson.1")).unwrap();
        }
        assert_eq!(recover_directory(folder.path(), false).unwrap().rows_recovered, 29);
    }
}
