//! Numbers, times and shares as people read them.

use crate::model::text::printable;
use std::time::Duration;

/// Columns of a terminal that everybody has.
pub const COLUMNS: usize = 80;

/// Columns of a label at the beginning of a line.
pub const LABEL: usize = 10;

/// A line with a label, broken where it is wider than a terminal.
pub fn put(text: &mut String, label: &str, what: &str) {
    *text += &fit(&format!("{label:<LABEL$}{}", printable(what)), LABEL);
}

/// A line, broken at spaces where it is wider than a terminal; what follows is indented. A word is never broken.
pub fn fit(line: &str, indent: usize) -> String {
    let (mut text, mut rest, mut room) = (String::new(), line, COLUMNS);
    while rest.chars().count() > room {
        let end = rest.char_indices().nth(room).map_or(rest.len(), |(at, _)| at);
        // Not within the label or the indent.
        let start = if text.is_empty() { indent } else { 0 };
        let space = rest[..end].rfind(' ').filter(|at| *at > start);
        let Some(space) = space.or_else(|| rest[end..].find(' ').map(|at| end + at)) else {
            break;
        };
        text += rest[..space].trim_end();
        text.push('\n');
        text += &" ".repeat(indent);
        rest = rest[space..].trim_start();
        room = COLUMNS - indent;
    }
    text + rest + "\n"
}

/// A text cut to so many characters, the cut shown.
pub fn shortened(text: &str, limit: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= limit {
        return text.into_owned();
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count with its noun: `1 batch`, `1,200 entries`. `many` is the plural.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A duration in its two largest units: `42 s`, `3 min 20 s`, `11 h 07 min`, `2 days 3 h`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if days >= 2 => format!("{days} days {} h", hours % 24),
        () if hours >= 1 => format!("{hours} h {:02} min", minutes % 60),
        () if minutes >= 1 => format!("{minutes} min {:02} s", seconds % 60),
        () => format!("{seconds} s"),
    }
}

/// Requests a second, with as many digits as mean something.
pub fn rate(per_second: f64) -> String {
    if per_second >= 10.0 {
        format!("{}/s", count(per_second.round() as u64))
    } else {
        format!("{per_second:.1}/s")
    }
}

/// A share in per cent, rounded up, since it is a bound: `0.0099` as `1.0 %`.
pub fn at_most_percent(share: f64) -> String {
    let tenths = (share * 1_000.0).ceil();
    format!("{:.1} %", tenths / 10.0)
}

/// A moment as a table shows it, UTC.
pub fn moment(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| "-".into(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// From here on a date without its year says little.
const YEAR_MS: u64 = 365 * 86_400_000;

/// A moment on the clock on the wall here, seen from another: `14:32 CET`, or `Wed 25 Nov, 06:12 CET`.
pub fn clock(ms: i64, now_ms: i64) -> String {
    clock_in(&jiff::tz::TimeZone::system(), ms, now_ms)
}

fn clock_in(zone: &jiff::tz::TimeZone, ms: i64, now_ms: i64) -> String {
    let local = |ms| jiff::Timestamp::from_millisecond(ms).map(|at| at.to_zoned_datetime(zone.clone()));
    let (Ok(at), Ok(now)) = (local(ms), local(now_ms)) else {
        return "-".into();
    };
    let form = match () {
        () if at.date() == now.date() => "%H:%M %Z",
        () if ms.abs_diff(now_ms) < YEAR_MS => "%a %-d %b, %H:%M %Z",
        () => "%-d %b %Y",
    };
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(counted(1, "batch", "batches"), "1 batch");
        assert_eq!(counted(0, "batch", "batches"), "0 batches");
    }

    #[test]
    fn lines_are_broken_at_spaces_and_words_never() {
        let mut text = String::new();
        put(&mut text, "Reused", &"twelve characters ".repeat(8));
        put(&mut text, "Job", &"x".repeat(100));
        assert!(
            text.lines().take(3).all(|line| line.chars().count() <= COLUMNS),
            "{text}"
        );
        assert_eq!(text.lines().nth(1).unwrap().find(|c| c != ' '), Some(LABEL));
        assert!(text.lines().last().unwrap().ends_with(&"x".repeat(100)), "{text}");
        assert_eq!(fit("short", 10), "short\n");
        assert_eq!(shortened("ann@example.com", 8), "ann@exa…");
    }

    #[test]
    fn durations_have_two_units() {
        let shown = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(
            [0, 59, 60, 200].map(shown),
            ["0 s", "59 s", "1 min 00 s", "3 min 20 s"]
        );
        assert_eq!([40_020, 183_600].map(shown), ["11 h 07 min", "2 days 3 h"]);
    }

    #[test]
    fn bounds_are_rounded_up() {
        assert_eq!(at_most_percent(0.00994), "1.0 %");
        assert_eq!(at_most_percent(0.0101), "1.1 %");
    }

    #[test]
    fn a_moment_is_told_as_briefly_as_it_can_be() {
        let zone = jiff::tz::TimeZone::posix("CET-1").unwrap();
        // 2026-11-24 13:30 UTC.
        let now = 1_795_527_000_000;
        let shown = |minutes: i64| clock_in(&zone, now + minutes * 60_000, now);
        assert_eq!(shown(2), "14:32 CET");
        assert_eq!(shown(16 * 60), "Wed 25 Nov, 06:30 CET");
        assert_eq!(shown(12 * 24 * 60), "Sun 6 Dec, 14:30 CET");
        assert_eq!(shown(3 * 366 * 24 * 60), "26 Nov 2029");
        assert_eq!(clock_in(&zone, i64::MAX, now), "-");
    }
}
