//! Times in objects, as the real server parses them.

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::DateTime;

const SECONDS: &str = "2006-01-02T15:04:05";
const MICROSECONDS: &str = ".000000";
const ZONE: &str = "Z07:00";

/// Whether `text` is a `Time`: it has any number of digits after the point, or no point.
pub(crate) fn is_time(text: &str) -> bool {
    parts(text).is_some()
}

/// Whether `text` is a `MicroTime`: it has exactly six digits after the point.
pub(crate) fn is_micro_time(text: &str) -> bool {
    parts(text).is_some_and(|(_, fraction, _)| fraction.len() == MICROSECONDS.len())
}

/// The parts of a time: up to the seconds, the point and the digits after it, and the zone. The point may be a comma.
fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let (seconds, rest) = text.split_at_checked(SECONDS.len())?;
    let (fraction, zone) = rest.split_at(rest.find(|c: char| !matches!(c, '.' | ',' | '0'..='9'))?);
    let is_fraction = match fraction.strip_prefix(['.', ',']) {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()),
        None => fraction.is_empty(),
    };
    let are_seconds = seconds.contains('T') && seconds.parse::<DateTime>().is_ok();
    (are_seconds && is_fraction && is_zone(zone)).then_some((seconds, fraction, zone))
}

fn is_zone(text: &str) -> bool {
    text == "Z"
        || text.len() == ZONE.len() && format!("2006-01-02T15:04:05{text}").parse::<Timestamp>().is_ok()
}

/// A time in the stored form: with a point, and in UTC. The year in UTC may be out of the range of `Timestamp`; the
/// conversion therefore uses another year with the same calendar.
pub(crate) fn in_utc(time: &str) -> String {
    const CYCLE: i64 = 400;
    let time = time.replace(',', ".");
    let Some((year, rest)) = time.split_once('-') else { return time };
    let Ok(year) = year.parse::<i64>() else { return time };
    let shift = if year < 5_000 { CYCLE } else { -CYCLE };
    let Ok(twin) = format!("{:04}-{rest}", year + shift).parse::<Timestamp>() else { return time };
    let twin = twin.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let year = twin[..4].parse::<i64>().unwrap_or_default() - shift;
    let sign = if year < 0 { "-" } else { "" };
    format!("{sign}{:04}{}", year.abs(), &twin[4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_times_have_one_form() {
        for (time, stored) in [
            ("2026-01-01T00:00:00.123456Z", "2026-01-01T00:00:00.123456Z"),
            ("2026-01-01T00:00:00,123456Z", "2026-01-01T00:00:00.123456Z"),
            ("2026-01-01T00:00:00.123456-00:30", "2026-01-01T00:30:00.123456Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("9999-12-31T23:59:59.999999-23:59", "10000-01-01T23:58:59.999999Z"),
            ("0000-01-01T00:00:00.000000+23:59", "-0001-12-31T00:01:00.000000Z"),
        ] {
            assert!(is_micro_time(time), "{time}");
            assert_eq!(in_utc(time), stored);
        }
    }

    #[test]
    fn a_micro_time_has_six_digits() {
        for time in ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.123456789Z"] {
            assert!(is_time(time) && !is_micro_time(time), "{time}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for time in [
            "",
            "now",
            "2026-01-01 00:00:00.123456Z",
            "2026-13-01T00:00:00.123456Z",
            "2026-01-01T00:00:00.123456",
        ] {
            assert!(!is_time(time) && !is_micro_time(time), "{time}");
        }
    }
}
