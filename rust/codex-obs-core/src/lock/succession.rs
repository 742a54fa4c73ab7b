//! A lock without locks, for file systems that have none: a record that is made in one step, or not at all, decides.
//!
//! The record at the lock's own name comes first. Of a record whose process is surely gone, the heir is the record at a name
//! that has the dead one's number in it, and so on. Each of these names is made once, so that of many who find a holder dead
//! one becomes the heir. The heir puts its record at the lock's own name, which ends the line. Who reads a record while the
//! lock passes on and then makes the name of its heir, finds another record at the lock's name, and gives up.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::holder::Holder;
use crate::error::{Error, Result};
use crate::fs;
use crate::process::Process;

/// Mode of the records: nobody else needs them.
const MODE: u32 = 0o600;

/// What to do with holders of which nobody here can tell whether they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// They keep what they hold.
    Keep,
    /// Somebody said that they are gone.
    Gone,
}

/// Makes `mine` the holder of the lock at `path`, unless another process that lives, or may live, holds it. Gives the record
/// of who holds it now.
pub(super) fn take(path: &Path, mine: &Holder, observer: &Process, strangers: Strangers) -> Result<Holder> {
    loop {
        let Some(first) = Holder::read(path)? else {
            if publish(path, mine)? {
                return Ok(mine.clone());
            }
            continue;
        };
        let (last, heirs) = line(path, &first)?;
        let is_free = last.is_surely_gone(observer) || strangers == Strangers::Gone && last.is_out_of_sight(observer);
        if !is_free {
            return Ok(last);
        }
        let heir = heir_path(path, &last);
        if !publish(&heir, mine)? {
            continue;
        }
        let taken = match Holder::read(path)? {
            Some(now) if now == first => fs::replace(path, mine.bytes(), MODE).map(|()| true),
            _ => Ok(false),
        };
        for name in heirs.iter().chain([&heir]) {
            let _ = fs::remove(name);
        }
        if taken? {
            return Ok(mine.clone());
        }
    }
}

/// The record that holds the lock at `path`; `None` if there is none.
pub(super) fn holder(path: &Path) -> Result<Option<Holder>> {
    Holder::read(path)?.map(|first| line(path, &first).map(|(last, _)| last)).transpose()
}

/// The last of the line that begins with `first`, and the names of all heirs.
fn line(path: &Path, first: &Holder) -> Result<(Holder, Vec<PathBuf>)> {
    let (mut last, mut names) = (first.clone(), Vec::new());
    loop {
        let name = heir_path(path, &last);
        let Some(next) = Holder::read(&name)? else { return Ok((last, names)) };
        names.push(name);
        last = next;
    }
}

fn heir_path(path: &Path, dead: &Holder) -> PathBuf {
    with_suffix(path, &format!(".heir-{:016x}", dead.number()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a file with the record at `path` unless there is one. Gives whether it did.
fn publish(path: &Path, record: &Holder) -> Result<bool> {
    let draft = with_suffix(path, &format!(".{:016x}.new", record.number()));
    write_new(&draft, record)?;
    let published = match fs::rename_new(&draft, path) {
        Err(error) if fs::cannot_spare(&error) => match fs::link(&draft, path) {
            // Neither: whoever sees the file before the record is in it takes it for a holder that lives.
            Err(error) if fs::cannot_link(&error) => write_new(path, record),
            outcome => outcome,
        },
        outcome => outcome,
    };
    let _ = fs::remove_if_there(&draft);
    match published {
        Ok(()) => Ok(true),
        // Over a network the answer may be an error although it was done.
        Err(_) if Holder::read(path)?.as_ref() == Some(record) => Ok(true),
        Err(error) if is_there(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_there(error: &Error) -> bool {
    error.io_kind() == Some(std::io::ErrorKind::AlreadyExists)
}

fn write_new(path: &Path, record: &Holder) -> Result<()> {
    let mut file = fs::create_new(path, MODE)?;
    file.write_all(record.bytes()).map_err(|source| {
        let _ = fs::remove(path);
        Error::io("write", path, source)
    })
}

#[cfg(test)]
mod tests {
    use super::super::holder::Purpose;
    use super::*;

    fn holder_of(process: &Process) -> Holder {
        Holder::new(process, Purpose::Write, true).unwrap()
    }

    fn take_for(path: &Path, process: &Process, observer: &Process, strangers: Strangers) -> bool {
        let mine = holder_of(process);
        take(path, &mine, observer, strangers).unwrap() == mine
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::list(folder).unwrap().into_iter().map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn of_many_that_ask_at_once_one_succeeds_a_dead_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-main");
        let process = Process::current();
        let gone = Process { start_time: process.start_time + 1, ..process.clone() };
        for round in 0..50 {
            assert!(take_for(&path, &gone, &process, Strangers::Keep), "the last round's holder is gone");
            let takers = 8;
            let taken: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..takers)
                    .map(|_| scope.spawn(|| usize::from(take_for(&path, &process, &process, Strangers::Keep))))
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(taken, 1, "round {round}");
            assert_eq!(names(folder.path()), ["lock-main"], "nothing is left of the line");
            std::fs::write(&path, holder_of(&gone).bytes()).unwrap();
        }
    }

    #[test]
    fn a_line_of_heirs_that_died_amid_it_is_followed_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-main");
        let process = Process::current();
        let gone = Process { start_time: process.start_time + 1, ..process.clone() };
        let mut last = holder_of(&gone);
        std::fs::write(&path, last.bytes()).unwrap();
        for _ in 0..3 {
            let next = holder_of(&gone);
            std::fs::write(heir_path(&path, &last), next.bytes()).unwrap();
            last = next;
        }
        assert_eq!(holder(&path).unwrap(), Some(last.clone()));
        let alive = holder_of(&process);
        let name = heir_path(&path, &last);
        std::fs::write(&name, alive.bytes()).unwrap();
        assert!(!take_for(&path, &process, &process, Strangers::Gone), "an heir that lives holds the lock");
        std::fs::remove_file(name).unwrap();
        assert!(take_for(&path, &process, &process, Strangers::Keep));
        assert_eq!(names(folder.path()), ["lock-main"]);
    }

    #[test]
    fn a_holder_of_another_boot_or_namespace_gives_way_only_when_somebody_says_so() {
        let process = Process::current();
        let strangers = [
            Process { boot_id: "another".into(), ..process.clone() },
            Process { pid_namespace: 1, start_time: 1, ..process.clone() },
        ];
        for stranger in strangers {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("lock-main");
            assert!(take_for(&path, &stranger, &process, Strangers::Keep));
            assert!(!take_for(&path, &process, &process, Strangers::Keep));
            assert!(take_for(&path, &process, &process, Strangers::Gone));
            assert!(!take_for(&path, &process, &process, Strangers::Gone), "a process that lives here keeps its lock");
        }
    }

    #[test]
    fn half_a_record_is_a_holder_that_may_live() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-main");
        let process = Process::current();
        let whole = holder_of(&process);
        for length in [0, 1, 20, whole.bytes().len() / 2] {
            std::fs::write(&path, &whole.bytes()[..length]).unwrap();
            assert!(!take_for(&path, &process, &process, Strangers::Keep), "{length} bytes");
        }
        assert!(take_for(&path, &process, &process, Strangers::Gone));
    }
}
