//! What readers say of journals that they cannot bring back.

use codex_obs_core::clock::Clock;
use codex_obs_core::problem::Problem;
use codex_obs_core::process::Process;
use codex_obs_core::reading::{read_rows, summarize};
use codex_obs_core::recovery::run::recover_directory;
use codex_obs_core::scan::Report;

use crate::recovery::{gone, leave_journal};

fn report(directory: &std::path::Path) -> [Report; 2] {
    let paths = [directory.to_owned()];
    let (_, summary) = summarize(&paths, false, &Clock::System, &mut |_| true).unwrap();
    let (_, rows) = read_rows(&paths, false, &Clock::System, &mut |_| true).unwrap();
    [summary, rows]
}

#[test]
fn a_journal_of_another_machine_is_named_for_the_command_that_recovers_it() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("a run");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("metrics.ndjson"), "").unwrap();
    let elsewhere = Process { boot_id: "another".into(), machine_id: "another".into(), ..gone() };
    drop(leave_journal(&directory, elsewhere, 5));
    for report in report(&directory) {
        let [(path, why)] = report.journals.as_slice() else { panic!("{report:?}") };
        assert_eq!(*path, directory.join(".codex_obs/journal-main"));
        let facts = vec![("directory", directory.to_str().unwrap().to_owned())];
        assert_eq!(*why, Problem::new("foreign_journal", "was left by a process on another machine", facts));
        assert_eq!(report.rows, 0);
    }
    assert_eq!(recover_directory(&directory, true).unwrap().rows_recovered, 10);
    for report in report(&directory) {
        assert_eq!((report.rows, report.journals), (10, vec![]));
    }
}

#[test]
fn a_journal_that_is_none_is_named_where_it_cannot_be_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    std::fs::write(directory.join("metrics.ndjson"), "").unwrap();
    std::fs::create_dir_all(directory.join(".codex_obs/journal-main")).unwrap();
    for report in report(directory) {
        let [(_, why)] = report.journals.as_slice() else { panic!("{report:?}") };
        assert!(why.what.starts_with("cannot be read: "), "{why}");
    }
}
