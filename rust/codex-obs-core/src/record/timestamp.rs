//! Points in time as microseconds since the epoch, and as text.

/// 0001-01-01T00:00:00.000000Z, the earliest time that has a text.
pub const MIN: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z, the latest time that has a text.
pub const MAX: i64 = 253_402_300_799_999_999;
/// Bytes of the text.
pub const TEXT_BYTES: usize = 27;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Days from 0000-03-01 to the epoch. A year that begins in March has its leap day at its end.
const DAYS_TO_EPOCH: i64 = 719_468;
const DAYS_PER_ERA: i64 = 146_097;
const YEARS_PER_ERA: i64 = 400;

/// The time as UTC with six fractional digits and `Z`; times outside [`MIN`] to [`MAX`] become those.
///
/// # Examples
///
/// ```
/// assert_eq!(&codex_obs_core::record::timestamp::format(125), b"1970-01-01T00:00:00.000125Z");
/// ```
#[must_use]
pub fn format(micros: i64) -> [u8; TEXT_BYTES] {
    let micros = micros.clamp(MIN, MAX);
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let fraction = micros.rem_euclid(MICROS_PER_SECOND) as u32;
    let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY) as u32;
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    put_two(&mut text, 0, year / 100);
    put_two(&mut text, 2, year % 100);
    put_two(&mut text, 5, month);
    put_two(&mut text, 8, day);
    put_two(&mut text, 11, second / 3600);
    put_two(&mut text, 14, second / 60 % 60);
    put_two(&mut text, 17, second % 60);
    put_two(&mut text, 20, fraction / 10_000);
    put_two(&mut text, 22, fraction / 100 % 100);
    put_two(&mut text, 24, fraction % 100);
    text
}

/// Reads a date and time of RFC 3339: `T` or a blank between them, any number of fractional digits (those after the sixth are
/// cut), any offset, none for UTC. `None` for anything else, and for what lies outside [`MIN`] to [`MAX`].
///
/// # Examples
///
/// ```
/// use codex_obs_core::record::timestamp::parse;
///
/// assert_eq!(parse(b"1970-01-01T00:00:01.5+00:00"), Some(1_500_000));
/// assert_eq!(parse(b"1970-01-01 02:00:01+02:00"), Some(1_000_000));
/// ```
#[must_use]
pub fn parse(text: &[u8]) -> Option<i64> {
    let (clock, rest) = text.split_first_chunk::<19>()?;
    let [b'-', b'-', b'T' | b't' | b' ', b':', b':'] = [clock[4], clock[7], clock[10], clock[13], clock[16]] else {
        return None;
    };
    let year = two(clock[0], clock[1])? * 100 + two(clock[2], clock[3])?;
    let (month, day) = (two(clock[5], clock[6])?, two(clock[8], clock[9])?);
    let (hour, minute, second) = (two(clock[11], clock[12])?, two(clock[14], clock[15])?, two(clock[17], clock[18])?);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, zone) = rest.split_at(digits);
            (micros(digits)?, zone)
        }
        zone => (0, zone),
    };
    let seconds = days(year, month, day) * SECONDS_PER_DAY + i64::from(hour * 3600 + minute * 60 + second);
    let micros = (seconds - offset(zone)?) * MICROS_PER_SECOND + fraction;
    (MIN..=MAX).contains(&micros).then_some(micros)
}

/// Seconds by which a zone's clocks are ahead of UTC.
#[inline]
fn offset(zone: &[u8]) -> Option<i64> {
    match *zone {
        [] | [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), hour_tens, hour, b':', minute_tens, minute] => {
            let (hours, minutes) = (two(hour_tens, hour)?, two(minute_tens, minute)?);
            let seconds = i64::from(hours * 3600 + minutes * 60);
            (hours < 24 && minutes < 60).then_some(if sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// Decimal digits behind the point as microseconds.
#[inline]
fn micros(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    let padded = (0..6).map(|index| digits.get(index).map_or(0, |digit| i64::from(digit - b'0')));
    Some(padded.fold(0, |sum, digit| sum * 10 + digit))
}

/// Year, month and day of a day since the epoch, by counting eras of 400 years that begin on the first of March.
#[inline]
fn date(days_since_epoch: i64) -> (u32, u32, u32) {
    let days = days_since_epoch + DAYS_TO_EPOCH;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA) as u32;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + (era * YEARS_PER_ERA) as u32 + u32::from(month <= 2);
    (year, month, day)
}

/// Days since the epoch of a date.
#[inline]
fn days(year: u32, month: u32, day: u32) -> i64 {
    let year_from_march = year - u32::from(month <= 2);
    let (era, year_of_era) = (year_from_march / 400, year_from_march % 400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i64::from(era) * DAYS_PER_ERA + i64::from(day_of_era) - DAYS_TO_EPOCH
}

#[inline]
fn days_in(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[inline]
fn two(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
}

#[inline]
fn put_two(text: &mut [u8; TEXT_BYTES], at: usize, number: u32) {
    text[at] = b'0' + (number / 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn text(micros: i64) -> String {
        String::from_utf8(format(micros).to_vec()).unwrap()
    }

    #[test]
    fn ends_of_the_range_have_a_text_and_times_outside_become_them() {
        assert_eq!(text(MIN), "0001-01-01T00:00:00.000000Z");
        assert_eq!(text(MAX), "9999-12-31T23:59:59.999999Z");
        assert_eq!(text(i64::MIN), text(MIN));
        assert_eq!(text(i64::MAX), text(MAX));
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn every_accepted_form_is_read() {
        let base = 1_795_162_530_000_000;
        for (form, micros) in [
            ("2026-11-20T08:15:30.000125Z", 125),
            ("2026-11-20T08:15:30Z", 0),
            ("2026-11-20T08:15:30+00:00", 0),
            ("2026-11-20T08:15:30.5+00:00", 500_000),
            ("2026-11-20T08:15:30.1234567899999999999999Z", 123_456),
            ("2026-11-20T08:15:30", 0),
            ("2026-11-20 08:15:30", 0),
            ("2026-11-20 08:15:30.25", 250_000),
            ("2026-11-20 08:15:30Z", 0),
            ("2026-11-20t08:15:30z", 0),
            ("2026-11-20T10:15:30+02:00", 0),
            ("2026-11-20T10:15:30.000001+02:00", 1),
            ("2026-11-19T20:45:30-11:30", 0),
            ("2026-11-21T07:14:30+22:59", 0),
            ("2026-11-20T08:15:30-00:00", 0),
        ] {
            assert_eq!(parse(form.as_bytes()), Some(base + micros), "{form}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for form in [
            "",
            "2026-11-20",
            "2026-11-20T08:15",
            "2026-11-20_08:15:30Z",
            "2026-11-20T08:15:30 Z",
            "2026-11-20T08:15:30+0200",
            "2026-11-20T08:15:30+2:00",
            "2026-11-20T08:15:30+24:00",
            "2026-11-20T08:15:30+01:60",
            "2026-11-20T08:15:30,5Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59.5-00:01",
            "2026-11-20T08:15:30.Z",
            "2026-11-20T08:15:30.+00:00",
            "2026-11-20T08:15:30.1x3Z",
            "2026-11-20T08:15:30ZZ",
            "2026-02-29T08:15:30Z",
            "2026-13-01T08:15:30Z",
            "2026-00-01T08:15:30Z",
            "2026-11-00T08:15:30Z",
            "2026-11-31T08:15:30Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T08:60:30Z",
            "2026-11-20T08:15:60Z",
            "0000-11-20T08:15:30Z",
            "+026-11-20T08:15:30Z",
            "2026-11-2\u{663}T08:15:30Z",
        ] {
            assert_eq!(parse(form.as_bytes()), None, "{form}");
        }
    }

    #[test]
    fn every_day_from_year_1_to_9999_agrees_with_jiff() {
        let mut date = jiff::civil::date(1, 1, 1);
        let mut micros = MIN;
        while micros <= MAX {
            let start = std::format!("{date}T00:00:00.000000Z");
            assert_eq!(text(micros), start);
            assert_eq!(parse(start.as_bytes()), Some(micros));
            micros += SECONDS_PER_DAY * MICROS_PER_SECOND;
            if micros <= MAX {
                date = date.tomorrow().unwrap();
            }
        }
        assert_eq!(date, jiff::civil::date(9999, 12, 31));
    }

    proptest! {
        #[test]
        fn any_moment_agrees_with_jiff(micros in MIN..=MAX - SECONDS_PER_DAY * MICROS_PER_SECOND) {
            let theirs = Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(text(micros), std::format!("{theirs:.6}"));
            prop_assert_eq!(parse(&format(micros)), Some(micros));
        }

        #[test]
        fn any_offset_agrees_with_jiff(
            micros in MIN + SECONDS_PER_DAY * MICROS_PER_SECOND..=MAX - 2 * SECONDS_PER_DAY * MICROS_PER_SECOND,
            minutes in -1439_i32..1440,
        ) {
            let zone = jiff::tz::Offset::from_seconds(minutes * 60).unwrap();
            let there = zone.to_datetime(Timestamp::from_microsecond(micros).unwrap());
            let (sign, ahead) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
            let text = std::format!("{there:.6}{sign}{:02}:{:02}", ahead / 60, ahead % 60);
            prop_assert_eq!(parse(text.as_bytes()), Some(micros), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.Z+-]{0,20}|\\PC{0,40}") {
            if let Some(micros) = parse(text.as_bytes()) {
                prop_assert!((MIN..=MAX).contains(&micros));
            }
        }
    }
}
