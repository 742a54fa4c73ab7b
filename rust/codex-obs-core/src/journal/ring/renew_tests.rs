use super::super::{Appended, Backing};
use super::*;
use crate::journal::frame::{Call, FrameBuilder};
use crate::journal::identity::Identity;
use crate::record::Tags;

const SIZE: u64 = 4096;

fn append(ring: &Ring, step: i64) -> u64 {
    let mut builder = FrameBuilder::default();
    let call = Call { timestamp: step, step: Some(step), split: "train", dataset: None, tags: &Tags::default() };
    builder.begin(&call, SIZE as usize / 2);
    builder.float("loss", step as f64);
    builder.finish();
    let (appended, outcome) = ring.append(&mut ring.lock(), builder.bytes_mut());
    assert!(matches!(appended, Appended::Done { .. }));
    outcome.unwrap();
    ring.published()
}

/// The steps that whoever comes next finds in the journal at `path`.
fn steps(path: &Path) -> Vec<Option<i64>> {
    let (ring, identity) = Ring::attach(crate::fs::open_existing(path).unwrap(), path).unwrap().unwrap();
    assert!(ring.is_sound() && !ring.is_copy() && ring.gaps().is_empty() && identity.run_id == "r1");
    let mut at = cursor::current(ring.memory());
    let mut steps = Vec::new();
    while let Some((frame, next)) = ring.frame(&mut at) {
        steps.push(frame.metrics().unwrap().step);
        at = next;
    }
    steps
}

#[test]
fn rows_before_and_after_the_loss_of_the_file_are_in_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal-main");
    for backing in [Backing::Mapped, Backing::Mirrored] {
        for (first, calls) in [(SIZE, 3), (SIZE, 200), (1024, 5), (1024, 200)] {
            for harm in ["deleted", "replaced", "truncated"] {
                let file = crate::fs::create_new(&path, 0o600).unwrap();
                let identity = Identity { run_id: "r1".into(), stream: "main".into(), ..Identity::default() };
                let ring = Ring::create_part(file, &path, first, SIZE, backing, &identity).unwrap();
                let (mut at, mut begun) = (Cursor::default(), 0);
                for step in 0..calls {
                    append(&ring, step);
                    ring.grow().unwrap();
                    // All but the newest two are in the files.
                    if step >= 2 {
                        let (_, next) = ring.frame(&mut at).unwrap();
                        at = next;
                        cursor::begin(ring.memory(), &Intent { after: at, extents: [None; 2] }).unwrap();
                        cursor::complete(ring.memory()).unwrap();
                        ring.release(at.position);
                        begun += 1;
                    }
                }
                assert!(ring.is_in_place(&path).unwrap());
                match harm {
                    "deleted" => std::fs::remove_file(&path).unwrap(),
                    "replaced" => {
                        std::fs::copy(&path, folder.path().join("copy")).unwrap();
                        std::fs::rename(folder.path().join("copy"), &path).unwrap();
                    }
                    // The control words are kept.
                    _ => std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap(),
                }
                let is_cut = harm == "truncated" && backing == Backing::Mapped;
                if is_cut {
                    // The part that holds the next frame is not there any more.
                    append(&ring, calls);
                    let (end, _) = ring.end();
                    at = end;
                    ring.release(end.position);
                }
                assert!(!ring.is_in_place(&path).unwrap());
                ring.renew(&path, at).unwrap();
                assert!(ring.is_in_place(&path).unwrap() && !fresh_path(&path).exists());
                if !is_cut {
                    assert_eq!(steps(&path), [Some(calls - 2), Some(calls - 1)], "{backing:?} {harm} {begun}");
                    ring.grow().unwrap();
                    append(&ring, calls);
                    ring.store_dropped(9).unwrap();
                    ring.store_deferred(4).unwrap();
                    assert_eq!(steps(&path), [Some(calls - 2), Some(calls - 1), Some(calls)], "{backing:?} {harm}");
                    let (dead, _) = Ring::attach(crate::fs::open_existing(&path).unwrap(), &path).unwrap().unwrap();
                    assert_eq!((dead.dropped(), dead.deferred()), (9, 4));
                    if backing == Backing::Mapped {
                        // Where frames are written, the mark behind the newest says so.
                        assert_eq!(dead.rows_published(), Some(calls as u64 + 1));
                    }
                }
                std::fs::remove_file(&path).unwrap();
            }
        }
    }
}

#[test]
fn control_words_that_went_with_the_file_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal-main");
    let file = crate::fs::create_new(&path, 0o600).unwrap();
    let identity = Identity { run_id: "r1".into(), stream: "main".into(), ..Identity::default() };
    let ring = Ring::create_part(file, &path, 1024, SIZE, Backing::Mapped, &identity).unwrap();
    append(&ring, 0);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    append(&ring, 1);
    assert!(!ring.is_in_place(&path).unwrap() && !ring.has_words());
    let (end, _) = ring.end();
    ring.release(end.position);
    ring.renew(&path, end).unwrap();
    assert_eq!(steps(&path), []);
    append(&ring, 2);
    assert_eq!(steps(&path), [Some(2)]);
}

#[test]
fn a_file_that_cannot_be_made_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal-main");
    let file = crate::fs::create_new(&path, 0o600).unwrap();
    let identity = Identity { run_id: "r1".into(), stream: "main".into(), ..Identity::default() };
    let ring = Ring::create(file, &path, SIZE, Backing::Mapped, &identity).unwrap();
    append(&ring, 0);
    std::fs::remove_file(&path).unwrap();
    // A folder has the name.
    std::fs::create_dir_all(path.join("x")).unwrap();
    assert!(ring.renew(&path, Cursor::default()).is_err());
    assert!(!fresh_path(&path).exists());
    append(&ring, 1);
    std::fs::remove_dir_all(&path).unwrap();
    ring.renew(&path, Cursor::default()).unwrap();
    assert_eq!(steps(&path), [Some(0), Some(1)]);
}
