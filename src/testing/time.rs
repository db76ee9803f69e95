//! Times in objects, as Go parses them.

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::DateTime;

/// The layouts of the parts of a time, in the notation of Go.
const SECONDS: &str = "2006-01-02T15:04:05";
const MICROSECONDS: &str = ".000000";
const ZONE: &str = "Z07:00";

/// Checks a `Time`. The error is the message of the real server.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text, None)
}

/// Checks a `MicroTime`. The error is the message of the real server.
pub(crate) fn check_micro(text: &str) -> Result<(), String> {
    parse(text, Some(MICROSECONDS))
}

/// Checks the parts of a time. A `Time` has any number of digits after the point, or no point. A `MicroTime` has
/// exactly six digits. Both accept a comma for the point.
fn parse(text: &str, fraction: Option<&str>) -> Result<(), String> {
    let (seconds, rest) = text.split_at_checked(SECONDS.len()).unwrap_or((text, ""));
    let zone_at = match fraction {
        Some(layout) => layout.len(),
        None => rest.find(|c: char| !matches!(c, '.' | ',' | '0'..='9')).unwrap_or(rest.len()),
    };
    let (digits, zone) = rest.split_at_checked(zone_at).unwrap_or(("", rest));
    let is_fraction = match digits.strip_prefix(['.', ',']) {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()),
        None => digits.is_empty() && fraction.is_none(),
    };
    let layout = format!("{SECONDS}{}{ZONE}", fraction.unwrap_or_default());
    let (part, wanted) = if !seconds.contains('T') || seconds.parse::<DateTime>().is_err() {
        (text, SECONDS)
    } else if !is_fraction {
        (rest, fraction.unwrap_or_default())
    } else if !is_zone(zone) {
        (zone, ZONE)
    } else {
        return Ok(());
    };
    Err(format!("parsing time {text:?} as {layout:?}: cannot parse {part:?} as {wanted:?}"))
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
            assert_eq!(check_micro(time), Ok(()));
            assert_eq!(in_utc(time), stored);
        }
    }

    #[test]
    fn a_micro_time_has_six_digits() {
        for time in ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.123456789Z"] {
            assert_eq!(check(time), Ok(()));
            assert!(check_micro(time).is_err(), "{time}");
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
            assert!(check(time).is_err() && check_micro(time).is_err(), "{time}");
        }
    }
}
