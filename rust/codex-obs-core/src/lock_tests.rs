use super::*;

fn take(path: &Path, process: &Process) -> Option<Owner> {
    match Owner::acquire(path, process, Purpose::Write).unwrap() {
        Attempt::Taken(owner) => Some(owner),
        Attempt::Held(_) => None,
    }
}

#[test]
fn a_held_lock_is_refused_and_a_freed_one_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock-main");
    let process = Process::current();
    let owner = take(&path, &process).unwrap();
    assert!(owner.still_holds().unwrap());
    assert!(take(&path, &process).is_none());
    let another = Process { pid: process.pid + 1, ..process.clone() };
    assert!(is_held_by(&path, &process) && !is_held_by(&path, &another));
    drop(owner);
    assert!(!path.exists() && !is_held_by(&path, &process));
    assert!(take(&path, &process).is_some());
}

#[test]
fn what_a_lock_is_held_for_can_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock-main");
    let process = Process::current();
    for purpose in [Purpose::Write, Purpose::Recover] {
        let _held = Owner::acquire(&path, &process, purpose).unwrap();
        let refused = Owner::acquire(&path, &process, Purpose::Write).unwrap();
        assert!(matches!(refused, Attempt::Held(seen) if seen == purpose));
    }
}

#[test]
fn a_lock_inherited_from_a_process_that_is_gone_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock-main");
    let process = Process::current();
    let gone = Process { start_time: process.start_time + 1, ..process.clone() };
    let inherited = take(&path, &gone).unwrap();
    let owner = take(&path, &process).unwrap();
    assert!(owner.still_holds().unwrap() && !inherited.still_holds().unwrap());
    assert!(take(&path, &process).is_none());
    drop(inherited);
    assert!(path.exists(), "the old holder does not remove the new holder's file");
}

#[test]
fn a_lock_outlives_its_descriptor() {
    use std::os::fd::AsRawFd;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock-main");
    let process = Process::current();
    let owner = take(&path, &process).unwrap();
    let Hold::Lock { file, .. } = &owner.hold else { panic!("no lock") };
    let descriptor = file.as_raw_fd();
    let other = File::open("/dev/null").unwrap();
    // SAFETY: both descriptors are open; the second becomes a copy of the first, as if closed and used again.
    assert!(unsafe { libc::dup2(other.as_raw_fd(), descriptor) } >= 0);
    assert!(take(&path, &process).is_none());
    drop(owner);
    // SAFETY: asks for the flags of a descriptor.
    assert!(unsafe { libc::fcntl(descriptor, libc::F_GETFD) } >= 0, "someone else's descriptor is not closed");
    assert!(take(&path, &process).is_some());
    // SAFETY: nobody else has it.
    assert_eq!(unsafe { libc::close(descriptor) }, 0);
}

#[test]
fn a_lock_of_another_boot_or_namespace_is_never_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::current();
    let strangers = [
        Process { boot_id: "another".into(), start_time: 1, ..process.clone() },
        Process { pid_namespace: 1, start_time: 1, ..process.clone() },
    ];
    for (index, stranger) in strangers.iter().enumerate() {
        let path = folder.path().join(format!("lock-{index}"));
        let _held = take(&path, stranger).unwrap();
        assert!(take(&path, &process).is_none());
    }
}

#[test]
fn of_many_that_ask_at_once_one_gets_the_lock_of_a_dead_holder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock-main");
    let process = Process::current();
    let gone = Process { start_time: process.start_time + 1, ..process.clone() };
    for _ in 0..50 {
        let _inherited = take(&path, &gone).unwrap();
        let owners: Vec<Owner> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| take(&path, &process))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(owners.len(), 1);
    }
}

#[test]
fn takers_that_follow_one_another_are_waited_for_however_many_they_are() {
    const TAKERS: u32 = 12;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock-main");
    let (each, wait) = (Duration::from_millis(60), Duration::from_millis(400));
    let taken = |patience: &dyn Fn() -> Patience| -> u32 {
        std::thread::scope(|scope| {
            let path = &path;
            let take = move |patience: Patience| {
                let guard = Guard::acquire(path, &patience).ok().flatten();
                std::thread::sleep(if guard.is_some() { each } else { Duration::ZERO });
                u32::from(guard.is_some())
            };
            let threads: Vec<_> = (0..TAKERS).map(|_| patience()).map(|each| scope.spawn(move || take(each))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    };
    assert_eq!(taken(&|| Patience::of_each(wait)), TAKERS);
    assert!(taken(&|| Patience::of(wait)) < TAKERS, "who waits for all of them together gives up");
    let _stuck = Guard::acquire(&path, &Patience::of(wait)).unwrap();
    assert!(Guard::acquire(&path, &Patience::of_each(wait)).is_err(), "one that stands still is given up");
}

#[test]
fn a_record_that_its_process_could_not_remove_is_not_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let (internals, aside) = (folder.path().join(".codex_obs"), folder.path().join("aside"));
    std::fs::create_dir(&internals).unwrap();
    let path = internals.join("lock-placing");
    let take = |process: &Process| {
        let attempt = Owner::acquire_by_record(&path, process, Purpose::Write, Strangers::Keep).unwrap();
        if let Attempt::Taken(owner) = attempt { Some(owner) } else { None }
    };
    let drop_unremoved = |owner: Owner| {
        std::fs::rename(&internals, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &internals).unwrap();
        drop(owner);
        std::fs::remove_file(&internals).unwrap();
        std::fs::rename(&aside, &internals).unwrap();
        assert!(path.exists());
    };
    let process = Process::current();
    // Again and again: what is taken over becomes a record of this process once more.
    for _ in 0..3 {
        let owner = take(&process).unwrap();
        assert!(take(&process).is_none(), "another thread of this process has it");
        drop_unremoved(owner);
    }
    drop(take(&process).unwrap());
    assert!(!path.exists());
    // A process that lives: only itself knows what it let go of.
    let mut parent = Process { pid: std::os::unix::process::parent_id(), ..process.clone() };
    let text = std::fs::read_to_string(format!("/proc/{}/stat", parent.pid)).unwrap();
    parent.start_time = text.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    drop_unremoved(take(&parent).unwrap());
    assert!(take(&process).is_none());
}
