//! Several destinations of one session.

use std::time::{Duration, Instant};

use codex_obs_core::run::ending::RunStatus;
use codex_obs_core::session::{Session, Settings};

use crate::remote::{Act, Remote, expected};
use crate::support::{log, text};

fn named(name: &str) -> Remote {
    let remote = Remote::default();
    remote.store(|store| name.clone_into(&mut store.name));
    remote
}

#[test]
fn one_that_is_down_keeps_nothing_from_the_other_and_gets_everything_later() {
    let (folder, works, down) = (tempfile::tempdir().unwrap(), named("/one"), named("/two"));
    down.act(Act::Later(Duration::from_millis(5)));
    let open = || {
        let exports = vec![works.settings(), down.settings()];
        let settings = Settings { ring_bytes: 256 << 10, exports, ..Settings::default() };
        Session::open(folder.path(), Some("r1"), Some("name"), settings).unwrap()
    };
    let session = open();
    (0..300).for_each(|step| log(&session, step, 4));
    works.wait_for(|store| store.points.len() == 1200);
    assert!(session.close_with(RunStatus::Finished, Some(Instant::now() + Duration::from_millis(300))));
    let left = session.exports_left();
    let [left] = &left[..] else { panic!("{left:?}") };
    assert_eq!(left.rows, Some(1200));
    assert!(left.command.contains(&("uri", "http://remote/two".to_owned())), "{left:?}");
    works.store(|store| assert_eq!(store.finished, [RunStatus::Finished]));
    down.act(Act::Accept);
    let session = open();
    log(&session, 300, 4);
    assert!(session.close(Some(Instant::now() + Duration::from_mins(1))));
    assert_eq!(session.exports_left(), []);
    for remote in [works, down] {
        assert_eq!(remote.keys(), expected(0..301, 4));
    }
    assert!(text(folder.path(), "run.json").contains("\"test http://remote/two\":\"remote-0\""));
}
