use std::os::unix::fs::symlink;

use super::*;
use crate::fs::{create_folder, create_new, list, remove, rename, require_folder};

/// A run directory with internals, open, in a folder of its own.
fn run() -> (tempfile::TempDir, PathBuf, Arc<RunFolder>) {
    let around = tempfile::tempdir().unwrap();
    let path = around.path().join("run");
    std::fs::create_dir_all(path.join(INTERNALS)).unwrap();
    let folder = RunFolder::open(&path).unwrap();
    require_folder(&path.join(INTERNALS)).unwrap();
    (around, path, folder)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = list(folder).unwrap().into_iter().map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_directory_is_open_once_and_no_longer_than_it_is_held() {
    let (_around, path, folder) = run();
    assert!(Arc::ptr_eq(&folder, &RunFolder::open(&path).unwrap()));
    let first = folder.internals(Access::Write).unwrap();
    assert!(Arc::ptr_eq(&first, &folder.internals(Access::Read).unwrap()), "opened once");
    drop(folder);
    assert!(RunFolder::at(&path).is_none());
}

#[test]
fn names_are_looked_up_in_the_open_folder() {
    let (_around, path, _folder) = run();
    for folder in [path.clone(), path.join(INTERNALS)] {
        drop(create_new(&folder.join("a"), 0o600).unwrap());
        rename(&folder.join("a"), &folder.join("b")).unwrap();
        assert!(names(&folder).contains(&"b".to_owned()));
        remove(&folder.join("b")).unwrap();
        create_folder(&folder.join("c"), 0o600).unwrap();
        create_folder(&folder.join("c"), 0o600).unwrap();
        assert!(folder.join("c").is_dir());
    }
    rename(&path.join("c"), &path.join(INTERNALS).join("d")).unwrap();
    assert_eq!((names(&path), names(&path.join(INTERNALS))), (vec![INTERNALS.into()], vec!["c".into(), "d".into()]));
}

#[test]
fn nothing_is_made_behind_a_link_that_took_the_place_of_an_open_folder() {
    for name in ["run", "run/.codex_obs"] {
        let (around, path, _folder) = run();
        let target = around.path().join("target");
        std::fs::create_dir_all(target.join(INTERNALS)).unwrap();
        let swapped = around.path().join(name);
        std::fs::rename(&swapped, around.path().join("aside")).unwrap();
        symlink(if name == "run" { target.clone() } else { target.join(INTERNALS) }, &swapped).unwrap();
        let mut made = vec![path.join(INTERNALS).join("journal-main")];
        if name == "run" {
            made.push(path.join("metrics.ndjson"));
        }
        for path in made {
            let error = create_new(&path, 0o600).unwrap_err().to_string();
            assert!(error.contains("symbolic link"), "{error}");
            assert!(remove(&path).is_err() && rename(&path, &path.with_extension("x")).is_err());
        }
        let _ = create_folder(&path.join("artifacts"), 0o600);
        assert!(name != "run" || !target.join("artifacts").exists());
        assert_eq!(names(&target), [INTERNALS]);
        assert_eq!(names(&target.join(INTERNALS)), [] as [&str; 0]);
    }
}

#[test]
fn a_folder_that_was_moved_away_or_deleted_is_made_and_opened_anew() {
    for is_deleted in [false, true] {
        let (around, path, folder) = run();
        let before = folder.root().unwrap().id();
        if is_deleted {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::rename(&path, around.path().join("aside")).unwrap();
        }
        let file = path.join("metrics.ndjson");
        let error = create_new(&file, 0o600).unwrap_err();
        assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
        assert_eq!(FileId::at(&file).unwrap(), None);
        create_folder(&path.join(INTERNALS), 0o600).unwrap();
        drop(create_new(&file, 0o600).unwrap());
        drop(create_new(&path.join(INTERNALS).join("guard"), 0o600).unwrap());
        assert_eq!(names(&path), [INTERNALS, "metrics.ndjson"]);
        assert_ne!(folder.root().unwrap().id(), before);
    }
}

#[test]
fn a_run_is_found_through_links_that_were_there_before_it() {
    let (around, real, folder) = run();
    drop(folder);
    let path = around.path().join("link");
    symlink(&real, &path).unwrap();
    let folder = RunFolder::open(&path).unwrap();
    drop(create_new(&path.join("a"), 0o600).unwrap());
    // What the link leads to now is another run's.
    std::fs::remove_file(&path).unwrap();
    symlink("nowhere", &path).unwrap();
    drop(create_new(&path.join("b"), 0o600).unwrap());
    assert_eq!(names(&real), [INTERNALS, "a", "b"]);
    drop(folder);
    assert!(create_new(&path.join("c"), 0o600).is_err());
}

#[test]
fn a_descriptor_that_somebody_closed_is_opened_again() {
    let (_around, path, folder) = run();
    for held in [folder.root().unwrap(), folder.internals(Access::Write).unwrap()] {
        let number = held.as_raw_fd();
        drop(held);
        // SAFETY: what a daemon does that closes every descriptor; the folder looks whether it is its own.
        unsafe { libc::close(number) };
        let other = File::open("/dev/null").unwrap();
        drop(create_new(&path.join(INTERNALS).join(format!("a-{number}")), 0o600).unwrap());
        drop(other);
    }
    assert_eq!(names(&path.join(INTERNALS)).len(), 2);
}
