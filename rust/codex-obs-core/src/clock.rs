//! The clock, as an argument: real in a run, moved by hand in a test.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Two clocks that were read within this time were read at once.
const MOMENT_MICROS: i64 = 200;
/// Attempts to do that. One takes less than a microsecond, unless the thread loses its processor amid it.
const MOMENT_TRIES: u32 = 8;

/// Where time comes from. Cloning shares the clock.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The operating system's clocks.
    #[default]
    System,
    /// Times that whoever holds the other end moves.
    Manual(Arc<ManualTime>),
}

/// A clock's time and the time that has passed, in microseconds, both moved by hand and seen together.
#[derive(Debug, Default)]
pub struct ManualTime(Mutex<Moment>);

/// What the two clocks show at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Microseconds since 1970-01-01T00:00:00Z, as the clock is set.
    pub wall_micros: i64,
    /// Microseconds since some moment of this boot, whatever the clock is set to, with the time that the machine slept.
    pub passed_micros: i64,
}

impl ManualTime {
    /// A clock that shows `micros` since the epoch.
    #[must_use]
    pub fn new(micros: i64) -> Self {
        Self(Mutex::new(Moment { wall_micros: micros, passed_micros: 0 }))
    }

    fn lock(&self) -> MutexGuard<'_, Moment> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the clock shows.
    #[must_use]
    pub fn micros(&self) -> i64 {
        self.lock().wall_micros
    }

    /// Time passes; a negative time sets the clock back instead.
    pub fn advance(&self, micros: i64) {
        let mut moment = self.lock();
        let wall_micros = moment.wall_micros.wrapping_add(micros);
        *moment = Moment { wall_micros, passed_micros: moment.passed_micros.wrapping_add(micros.max(0)) };
    }

    /// Lets time pass until the clock shows `micros`, or sets the clock back to it.
    pub fn set(&self, micros: i64) {
        self.advance(micros.saturating_sub(self.micros()));
    }

    /// Changes what the clock shows without any time passing.
    pub fn step(&self, micros: i64) {
        self.lock().wall_micros += micros;
    }
}

impl Clock {
    /// Microseconds since 1970-01-01T00:00:00Z, as the clock is set.
    #[must_use]
    #[inline]
    pub fn now_micros(&self) -> i64 {
        match self {
            Self::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
                Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
            },
            Self::Manual(time) => time.micros(),
        }
    }

    /// Both clocks at once; `None` if this thread was interrupted again and again between looking at one and the other.
    #[must_use]
    pub fn moment(&self) -> Option<Moment> {
        match self {
            Self::System => (0..MOMENT_TRIES).find_map(|_| {
                let passed_micros = passed_micros();
                let moment = Moment { wall_micros: self.now_micros(), passed_micros };
                (self::passed_micros() - passed_micros <= MOMENT_MICROS).then_some(moment)
            }),
            Self::Manual(time) => Some(*time.lock()),
        }
    }
}

/// What the operating system's clock that nobody sets shows, with the time that the machine slept.
fn passed_micros() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of the right type. Without that clock, which Linux has had since 2.6.39, no time passes.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}
