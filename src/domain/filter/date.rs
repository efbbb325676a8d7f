use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};

/// A moment, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(DateTime<Utc>);

/// Shorter texts than this are no dates, and longer ones than that neither: most texts need not be read.
const SHORTEST: usize = "2024-05-01".len();
const LONGEST: usize = "2024-05-01T00:00:00.000000000+00:00".len();

impl Date {
    /// The moment that a text names by RFC 3339, or without a time zone, which is UTC, or without a time, which is
    /// midnight; none for any other text.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        if !(SHORTEST..=LONGEST).contains(&text.len()) || !text.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let whole = || DateTime::parse_from_rfc3339(text).ok().map(|date| date.to_utc());
        let local = |format| NaiveDateTime::parse_from_str(text, format).ok();
        let without_zone = || {
            let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
            formats.into_iter().find_map(local).map(|local| local.and_utc())
        };
        let day =
            || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0).map(|local| local.and_utc());
        let date = whole().or_else(without_zone).or_else(day)?;
        DateTime::from_timestamp_micros(date.timestamp_micros()).map(Self)
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0.timestamp_micros()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_rfc3339_opts(SecondsFormat::Micros, true);
        // The fraction that is zero is left out, and so are the zeros at its end.
        let shorter = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
        let whole = if shorter.contains('.') { shorter } else { text.split('.').next().unwrap_or(&text) };
        write!(f, "{whole}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_with_and_without_zone_and_time() {
        let noon = Date::of("2024-05-01T12:00:00Z").unwrap();
        for text in ["2024-05-01T14:00:00+02:00", "2024-05-01T12:00:00", "2024-05-01 12:00", "2024-05-01T12:00:00.000Z"]
        {
            assert_eq!(Date::of(text), Some(noon), "{text}");
        }
        assert_eq!(noon.micros(), 1_714_564_800_000_000);
        assert!(Date::of("2024-05-01").unwrap() < noon);
        for text in ["", "cat", "2024", "2024-13-01", "2024-05-01T25:00:00Z", "12 monkeys in a tree"] {
            assert_eq!(Date::of(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_written_as_it_is_read() {
        for text in ["2024-05-01T12:00:00Z", "2024-05-01T12:00:00.5Z", "2024-05-01T12:00:10.000001Z"] {
            assert_eq!(Date::of(text).unwrap().to_string(), text);
        }
    }
}
