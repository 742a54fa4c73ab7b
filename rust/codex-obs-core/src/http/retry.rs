//! When to try again: pure functions of counts, times and a random number.

use std::time::{Duration, SystemTime};

use crate::limits::{EXPORT_LONGEST_BACKOFF, EXPORT_LONGEST_RETRY_AFTER, EXPORT_QUICK_PAUSE, EXPORT_SHORTEST_BACKOFF};

/// The pause before quick attempt `attempt + 1`, counted from 1: doubled each time, of which at least half is kept.
#[must_use]
pub fn quick_pause(attempt: u32, random: u64) -> Duration {
    jittered(doubled(EXPORT_QUICK_PAUSE, attempt.saturating_sub(1), EXPORT_LONGEST_BACKOFF), random)
}

/// The pause after `failures` batches in a row came to nothing: doubled each time up to a cap, of which at least half is kept.
#[must_use]
pub fn backoff(failures: u32, random: u64) -> Duration {
    jittered(doubled(EXPORT_SHORTEST_BACKOFF, failures.saturating_sub(1), EXPORT_LONGEST_BACKOFF), random)
}

/// The pause where only a person can help.
#[must_use]
pub fn slow(random: u64) -> Duration {
    jittered(EXPORT_LONGEST_BACKOFF, random)
}

/// The time that a `Retry-After` header asks for, seconds or a date, capped; `None` if it is neither.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let asked = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that do not fit are a very long time.
        value.parse().map_or(EXPORT_LONGEST_RETRY_AFTER, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        // A date that has passed asks for nothing.
        date.duration_since(now).unwrap_or_default()
    };
    Some(asked.min(EXPORT_LONGEST_RETRY_AFTER))
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

/// Between half and the whole of it, so that many clients of one server do not return together.
fn jittered(pause: Duration, random: u64) -> Duration {
    let share = 0.5 + 0.5 * (random >> 11) as f64 / (1_u64 << 53) as f64;
    pause.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = u64::MAX;

    #[test]
    fn pauses_double_up_to_half_a_minute_and_keep_half() {
        let rounded = |pause: Duration| (pause.as_secs_f64() * 10.0).round() / 10.0;
        let longest: Vec<f64> = (1..=8).map(|failures| rounded(backoff(failures, MOST))).collect();
        assert_eq!(longest, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        for failures in [0, 1, 5, u32::MAX] {
            assert_eq!(
                backoff(failures, 0) * 2,
                doubled(EXPORT_SHORTEST_BACKOFF, failures.saturating_sub(1), EXPORT_LONGEST_BACKOFF)
            );
        }
        assert_eq!((rounded(quick_pause(1, MOST)), rounded(quick_pause(2, MOST))), (0.2, 0.4));
        assert_eq!((rounded(slow(0)), rounded(slow(MOST))), (15.0, 30.0));
    }

    #[test]
    fn retry_after_in_each_form() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |value| retry_after(value, now).map(|pause| pause.as_secs());
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds(" 7 "), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:49:47 GMT"), Some(10));
        assert_eq!(seconds("Sun Nov  6 08:49:47 1994"), Some(10));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "a date that has passed");
        assert_eq!(seconds("Sat, 06 Nov 2094 08:49:47 GMT"), Some(300), "capped");
        assert_eq!(seconds("86400"), Some(300));
        assert_eq!(seconds("99999999999999999999999999"), Some(300));
        for nonsense in ["", "-1", "1.5", "soon", "1e3", "Sun, 99 Nov 1994 08:49:47 GMT", "٣"] {
            assert_eq!(seconds(nonsense), None, "{nonsense}");
        }
    }
}
