//! Starts a process that is nobody's child here: no fork hook runs, no `wait` of the program sees it, and it inherits nothing.
//!
//! Two nested `clone(CLONE_VM | CLONE_VFORK)`: the outer process, which has no exit signal, makes the inner one and ends at once, so
//! that the inner one belongs to the machine's init. Both run on stacks of their own in this process's memory, while the thread that
//! starts them stands still; they only make system calls. Where this process is that init, as in a container, or a subreaper, the
//! kernel makes the inner one its child all the same: then it is waited for here, so that no zombie stays.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::null_mut;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::error::{Error, Result};

/// Bytes of each of the two stacks.
const STACK: usize = 64 << 10;
/// The first descriptor that is no standard stream.
const FIRST: RawFd = 3;
/// Descriptors that are closed one by one where the kernel has no `close_range`.
const MOST_DESCRIPTORS: RawFd = 1 << 16;
/// The last signal.
const SIGNALS: i32 = 64;

/// A program and what it gets.
#[derive(Clone)]
pub struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// What it reads from its standard input; may be secret.
    input: Vec<u8>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Spawned {
    /// Its number.
    pub pid: u32,
    /// Readable once it has ended; `None` where the kernel gives no such.
    pub ends: Option<OwnedFd>,
}

impl Spawned {
    /// Whether it has ended, as far as that can be told.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ends.as_ref().is_some_and(|ends| wait_for(ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))
    }

    /// From now on nobody looks whether it has ended.
    pub fn leave(&self) {
        if self.has_ended() || !adopts() {
            return;
        }
        if let Some(ends) = self.ends.as_ref().and_then(|ends| ends.try_clone().ok()) {
            let reap = move || while !wait_for(&ends, None) {};
            // Without a thread a zombie stays until this process ends.
            let _ = std::thread::Builder::new().name("codex-obs-reap".into()).spawn(reap);
        }
    }
}

/// Waits for the end of a process, at most so long, and takes its status where it is a child. Gives whether it has ended.
fn wait_for(ends: &OwnedFd, longest: Option<&Timespec>) -> bool {
    let mut polled = [PollFd::new(ends, PollFlags::IN)];
    let has_ended = poll(&mut polled, longest).is_ok_and(|ready| ready > 0);
    if has_ended {
        // Somebody else's child, or waited for already: then there is nothing to take.
        let _ = waitid(WaitId::PidFd(ends.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
    has_ended
}

/// Whether what is nobody's child becomes this process's.
fn adopts() -> bool {
    let mut is_subreaper: libc::c_int = 0;
    // SAFETY: the kernel writes one number to where the pointer leads.
    let known = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut is_subreaper) } == 0;
    std::process::id() == 1 || (known && is_subreaper != 0)
}

impl Program {
    /// The program at `path`, with all its arguments, the first one too, its environment and its standard input.
    ///
    /// # Errors
    /// If one of them holds a NUL.
    pub fn new<'a>(
        path: &OsStr,
        arguments: impl IntoIterator<Item = &'a OsStr>,
        environment: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
        input: Vec<u8>,
    ) -> Result<Self> {
        let text = |text: &[u8]| {
            CString::new(text).map_err(|_| Error::setting("environment", "holds a NUL, which no program can be given"))
        };
        let variable = |(name, value): (&OsStr, &OsStr)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat());
        Ok(Self {
            path: text(path.as_bytes())?,
            arguments: arguments.into_iter().map(|argument| text(argument.as_bytes())).collect::<Result<_>>()?,
            environment: environment.into_iter().map(variable).collect::<Result<_>>()?,
            input,
        })
    }

    /// Starts it in a session of its own, with nothing but its standard input and with signals as a program begins with them. What
    /// it says goes to `words`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, words: &File) -> std::io::Result<Spawned> {
        let mut input = File::from(memfd_create("codex_obs", MemfdFlags::CLOEXEC)?);
        input.write_all(&self.input)?;
        input.rewind()?;
        let nowhere = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        // Above the numbers that they are copied to.
        let (input, nowhere) = (fcntl_dupfd_cloexec(&input, FIRST)?, fcntl_dupfd_cloexec(&nowhere, FIRST)?);
        let words = fcntl_dupfd_cloexec(words, FIRST)?;
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        let (outer, inner) = (Stack::new()?, Stack::new()?);
        let mut plan = Plan {
            path: self.path.as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            streams: [input.as_raw_fd(), nowhere.as_raw_fd(), words.as_raw_fd()],
            stack: inner.top(),
            pid: 0,
            error: 0,
        };
        let blocked = Blocked::all();
        // SAFETY: the stack is mapped and outlives both processes, since this thread stands still until the inner one has begun
        // its program or ended, and until the outer one has ended. `plan` lives as long and is used by nobody else meanwhile.
        let parent =
            unsafe { libc::clone(make_inner, outer.top(), libc::CLONE_VM | libc::CLONE_VFORK, (&raw mut plan).cast()) };
        let cloned = if parent < 0 { Err(std::io::Error::last_os_error()) } else { Ok(parent) };
        if let Ok(parent) = cloned {
            // SAFETY: no pointer but null is handed over.
            while unsafe { libc::waitpid(parent, null_mut(), libc::__WALL) } < 0
                && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
            {}
        }
        drop(blocked);
        cloned?;
        if plan.error != 0 {
            return Err(std::io::Error::from_raw_os_error(plan.error));
        }
        let pid = Pid::from_raw(plan.pid).ok_or_else(|| std::io::Error::other("it has no number"))?;
        Ok(Spawned { pid: plan.pid.unsigned_abs(), ends: pidfd_open(pid, PidfdFlags::empty()).ok() })
    }
}

/// What both processes need, ready before they exist.
struct Plan {
    path: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    /// What becomes 0, 1 and 2.
    streams: [RawFd; 3],
    stack: *mut libc::c_void,
    /// What came of it.
    pid: libc::pid_t,
    error: i32,
}

/// The outer process: makes the inner one and ends.
extern "C" fn make_inner(plan: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `Program::spawn` hands over its plan and waits; see there for the stack. Nothing here but system calls.
    unsafe {
        let plan = plan.cast::<Plan>();
        let pid = libc::clone(run_program, (*plan).stack, libc::CLONE_VM | libc::CLONE_VFORK, plan.cast());
        if pid < 0 {
            (*plan).error = *libc::__errno_location();
        } else {
            (*plan).pid = pid;
        }
        libc::_exit(0)
    }
}

/// The inner process: becomes the program.
extern "C" fn run_program(plan: *mut libc::c_void) -> libc::c_int {
    // SAFETY: as above. The handlers that are reset and the descriptors that are closed are this process's copies.
    unsafe {
        let plan = plan.cast::<Plan>();
        libc::setsid();
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=SIGNALS {
            libc::sigaction(signal, &raw const default, null_mut());
        }
        for (number, &stream) in (0..).zip(&(*plan).streams) {
            if libc::dup2(stream, number) < 0 {
                (*plan).error = *libc::__errno_location();
                libc::_exit(127);
            }
        }
        if libc::syscall(libc::SYS_close_range, FIRST, u32::MAX, 0) < 0 {
            for descriptor in FIRST..MOST_DESCRIPTORS {
                libc::close(descriptor);
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, null_mut());
        libc::execve((*plan).path, (*plan).arguments, (*plan).environment);
        (*plan).error = *libc::__errno_location();
        libc::_exit(127)
    }
}

/// Memory for a stack.
struct Stack(*mut libc::c_void);

impl Stack {
    fn new() -> std::io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: new memory, wherever there is room.
        let start = unsafe { libc::mmap(null_mut(), STACK, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if start == libc::MAP_FAILED { Err(std::io::Error::last_os_error()) } else { Ok(Self(start)) }
    }

    /// Where it begins to grow downwards.
    fn top(&self) -> *mut libc::c_void {
        // SAFETY: the end of the mapping.
        unsafe { self.0.byte_add(STACK) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: it was mapped above, and the processes that ran on it are gone from it.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

/// Signals that wait until this is dropped: a handler must not run in a process that shares this one's memory.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> Self {
        // SAFETY: both sets are initialised by the calls that fill them.
        unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn shell(script: &str, input: &[u8]) -> Program {
        let arguments = ["sh", "-c", script].map(OsStr::new);
        Program::new(OsStr::new("/bin/sh"), arguments, [(OsStr::new("GREETING"), OsStr::new("hello"))], input.to_vec())
            .unwrap()
    }

    fn wait(spawned: &Spawned) {
        let ends = spawned.ends.as_ref().expect("this kernel tells of ends");
        assert!(wait_for(ends, Some(&Timespec { tv_sec: 30, tv_nsec: 0 })), "it ends");
        assert!(spawned.has_ended());
    }

    fn said(script: &str, input: &[u8]) -> String {
        let mut words = tempfile::tempfile().unwrap();
        wait(&shell(script, input).spawn(&words).unwrap());
        let mut text = String::new();
        words.rewind().unwrap();
        words.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn it_reads_what_it_was_given_and_has_its_environment_alone() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(said("wc -c >&2; echo $GREETING $HOME >&2", &input), "1048576\nhello\n");
    }

    #[test]
    fn it_is_nobodys_child_leads_a_session_and_inherits_no_descriptor() {
        let inherited = tempfile::tempfile().unwrap();
        rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
        let facts = said("cut -d' ' -f4,6 /proc/$$/stat >&2; echo $$ >&2; ls /proc/$$/fd | tr '\\n' ' ' >&2", b"");
        let mut lines = facts.lines();
        let (parent, session) = lines.next().unwrap().split_once(' ').unwrap();
        assert_ne!(parent, std::process::id().to_string());
        assert_eq!(session, lines.next().unwrap());
        assert_eq!(lines.next().unwrap().trim(), "0 1 2");
        // SAFETY: no pointer but null is handed over.
        let waited = unsafe { libc::waitpid(-1, null_mut(), libc::__WALL | libc::WNOHANG) };
        let is_childless = waited < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD);
        assert!(is_childless || waited >= 0, "other tests of this process have children");
    }

    #[test]
    fn signals_that_the_program_ignores_or_blocks_are_as_new_in_it() {
        let blocked = Blocked::all();
        let status = said("exec grep -E 'SigBlk|SigIgn' /proc/self/status >&2", b"");
        drop(blocked);
        for line in status.lines() {
            let set = u64::from_str_radix(line.rsplit_once('\t').unwrap().1, 16).unwrap();
            // Those from 32 on are the C library's own.
            assert_eq!(set & 0x7fff_ffff, 0, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_started_says_why() {
        let program = Program::new(OsStr::new("/no/such/program"), [OsStr::new("it")], [], Vec::new()).unwrap();
        let error = program.spawn(&tempfile::tempfile().unwrap()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        let named = Program::new(OsStr::new("/bin/sh"), [OsStr::new("a\0b")], [], Vec::new());
        assert!(named.unwrap_err().to_string().contains("NUL"));
    }
}
