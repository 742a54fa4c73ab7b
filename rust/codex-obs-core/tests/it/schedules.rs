//! Random histories of a run, its delivery and its destination, against a model that knows what was logged.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codex_obs_core::clock::Clock;
use codex_obs_core::deliver::context::Context;
use codex_obs_core::deliver::delivery::{Delivery, Step};
use codex_obs_core::deliver::destination::Destination;
use codex_obs_core::session::{Session, Settings};
use codex_obs_core::shard::policy::Policy;
use codex_obs_core::wait::Wait;
use proptest::prelude::*;

use crate::remote::{Act, Remote, expected};
use crate::support::log;
use codex_obs_core::paths::Stream;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// Calls are logged and written; small shards rotate under them.
    Log(i64),
    /// The delivery does so many steps, the last of them perhaps in the middle of something.
    Steps(usize),
    /// The delivery's process dies, and another takes over from what is on disk.
    Die,
    /// The run is closed and goes on.
    Reopen,
    /// What the destination does from now on.
    Act(Act),
}

fn event() -> impl Strategy<Value = Event> {
    let pause = Duration::from_millis(0);
    let act = prop_oneof![
        3 => Just(Act::Accept),
        1 => Just(Act::AcceptUnheard),
        2 => Just(Act::Later(pause)),
    ];
    prop_oneof![
        4 => (1..60_i64).prop_map(Event::Log),
        6 => (1..8_usize).prop_map(Event::Steps),
        1 => Just(Event::Die),
        1 => Just(Event::Reopen),
        3 => act.prop_map(Event::Act),
    ]
}

fn open(directory: &Path) -> Arc<Session> {
    let policy = Policy { max_bytes: Some(4000), max_age_micros: None, backup_count: Some(2) };
    let settings = Settings { policy, ring_bytes: 256 << 10, ..Settings::default() };
    Session::open(directory, Some("r1"), None, settings).unwrap()
}

fn delivery(directory: &Path, remote: &Remote) -> (Delivery, Box<dyn Destination>) {
    let context = Context {
        directory: directory.to_owned(),
        stream: Stream::main(),
        settings: remote.settings(),
        file_mode: 0o600,
        clock: Clock::System,
        stats: Arc::default(),
        warnings: Arc::default(),
        notes: Arc::default(),
        hold: None,
        telemetry_hold: None,
        live: None,
        is_live: false,
        ended: None,
        leads: true,
        lock: Arc::default(),
    };
    let destination = context.connect().unwrap();
    (Delivery::new(Arc::new(context), &*destination), destination)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_was_logged_is_what_arrives(events in prop::collection::vec(event(), 1..60)) {
        let (folder, remote, wait) = (tempfile::tempdir().unwrap(), Remote::default(), Wait::default());
        remote.store(|store| store.poison.insert("m1".into()));
        let mut session = open(folder.path());
        let (mut at_work, mut destination) = delivery(folder.path(), &remote);
        let mut next = 0;
        let mut is_sure = true;
        for event in events {
            match event {
                Event::Log(count) => {
                    (next..next + count).for_each(|step| log(&session, step, 3));
                    next += count;
                    prop_assert!(session.flush(None, false));
                }
                Event::Steps(count) => (0..count).for_each(|_| drop(at_work.step(&mut *destination, &wait, true))),
                Event::Die => {
                    drop(at_work);
                    (at_work, destination) = delivery(folder.path(), &remote);
                    // Another process may put other points together.
                    remote.store(|store| store.refused = None);
                    is_sure = false;
                }
                Event::Reopen => {
                    prop_assert!(session.close(None));
                    session = open(folder.path());
                }
                Event::Act(act) => {
                    is_sure &= !matches!(act, Act::AcceptUnheard);
                    remote.act(act);
                }
            }
        }
        remote.act(Act::Accept);
        while at_work.step(&mut *destination, &wait, true) != Step::Idle(None) {}
        let arrived: Vec<_> = expected(0..next, 3).into_iter().filter(|key| key.0 != "train/m1").collect();
        let mut seen = remote.keys();
        if !is_sure {
            // In order where it came for the first time; what came again is what had come.
            let mut known = std::collections::HashSet::new();
            seen.retain(|key| known.insert(key.clone()));
        }
        prop_assert_eq!(seen, arrived);
        prop_assert!(session.close(None));
    }
}
