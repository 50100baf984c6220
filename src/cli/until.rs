//! `--until`: a moment on the clock on the wall, as people write it.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Reads `06:00` as the next time that the clock shows it, and `2026-11-25T06:00` as it stands, also as the next one
/// where the clock shows that twice; local time. Gives milliseconds since 1970 UTC.
pub fn parse_until(text: &str) -> Result<i64, String> {
    until(text, Timestamp::now(), &TimeZone::system())
}

fn until(text: &str, now: Timestamp, zone: &TimeZone) -> Result<i64, String> {
    let expected = || "expected a local time such as 06:00, or 2026-11-25T06:00".to_owned();
    let here = now.to_zoned_datetime(zone.clone());
    // Half a time, such as `6` or a date alone, could be meant in several ways.
    let is_whole = text.len() >= "6:00".len() && text.contains(':') && !text.starts_with(['T', 't']);
    let text = text.trim();
    // Where an hour is repeated the clock shows a time twice, and in the second hour the first one is past.
    let at = |datetime: DateTime| {
        let readings = zone.to_ambiguous_timestamp(datetime);
        let first = readings.compatible().map_err(|_| expected())?;
        if first > now {
            return Ok(first);
        }
        readings.later().map_err(|_| expected())
    };
    let padded = if text.find(':') == Some(1) {
        format!("0{text}")
    } else {
        text.to_owned()
    };
    let moment = match (padded.parse::<Time>(), text.parse::<DateTime>()) {
        _ if !is_whole => return Err(expected()),
        (_, Ok(datetime)) => at(datetime)?,
        (Ok(time), Err(_)) => {
            let today = at(here.date().to_datetime(time))?;
            let tomorrow = here.date().tomorrow().map_err(|_| expected())?;
            if today > now {
                today
            } else {
                at(tomorrow.to_datetime(time))?
            }
        }
        (Err(_), Err(_)) => return Err(expected()),
    };
    if moment <= now {
        return Err("that is past; expected a time to come".into());
    }
    if moment > now.saturating_add((366 * 24).hours()).unwrap_or(Timestamp::MAX) {
        return Err("that is more than a year away; is it a slip?".into());
    }
    Ok(moment.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tuesday, 24 November 2026, 23:30 in Berlin.
    const NOW: &str = "2026-11-24T22:30:00Z";

    fn read(text: &str) -> Result<String, String> {
        read_at(NOW, text)
    }

    fn read_at(now: &str, text: &str) -> Result<String, String> {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let at = until(text, now.parse().unwrap(), &zone)?;
        Ok(Timestamp::from_millisecond(at).unwrap().to_string())
    }

    #[test]
    fn a_bare_time_is_the_next_one() {
        assert_eq!(read("06:00").unwrap(), "2026-11-25T05:00:00Z");
        assert_eq!(read("6:00").unwrap(), "2026-11-25T05:00:00Z");
        assert_eq!(read("23:45").unwrap(), "2026-11-24T22:45:00Z");
        assert_eq!(read("23:30").unwrap(), "2026-11-25T22:30:00Z", "now is past");
        assert_eq!(read("23:30:05").unwrap(), "2026-11-24T22:30:05Z");
    }

    #[test]
    fn a_whole_date_is_taken_as_it_stands() {
        assert_eq!(read("2026-11-25T06:00").unwrap(), "2026-11-25T05:00:00Z");
        assert_eq!(
            read("2027-07-01 06:00").unwrap(),
            "2027-07-01T04:00:00Z",
            "summer"
        );
        assert!(read("2026-11-24T06:00").unwrap_err().contains("past"));
        assert!(read("2126-11-25T06:00").unwrap_err().contains("slip"));
    }

    #[test]
    fn in_an_hour_that_the_clock_shows_twice_the_next_one_is_meant() {
        // On 25 October 2026 the clock goes from 03:00 CEST, 01:00 UTC, back to 02:00 CET.
        let (first, second) = ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
        for text in ["02:30", "2026-10-25T02:30"] {
            for (now, next) in [
                ("2026-10-24T22:00:00Z", first),
                ("2026-10-25T00:10:00Z", first),
                ("2026-10-25T00:50:00Z", second),
                ("2026-10-25T01:10:00Z", second),
            ] {
                assert_eq!(read_at(now, text).unwrap(), next, "{text} typed at {now}");
            }
        }
        let after = "2026-10-25T01:50:00Z";
        assert_eq!(read_at(after, "02:30").unwrap(), "2026-10-26T01:30:00Z");
        assert!(read_at(after, "2026-10-25T02:30").unwrap_err().contains("past"));
        let skipped = read_at("2027-03-28T00:10:00Z", "02:30").unwrap();
        assert_eq!(skipped, "2027-03-28T01:30:00Z", "as long after midnight as ever");
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        let bad = [
            "",
            "6",
            "06",
            "0600",
            "T06:00",
            "24:00",
            "25:00",
            "06:60",
            "soon",
            "tomorrow",
            "2026-11-25",
            "2026-13-01T06:00",
            "2026-11-25T06:00Z",
            "2026-11-25T06",
            ":",
            "6:0",
            "-06:00",
            "06:00 CET",
        ];
        for text in bad {
            assert!(
                read(text).is_err_and(|why| why.contains("expected")),
                "{text}: {:?}",
                read(text)
            );
        }
    }
}
