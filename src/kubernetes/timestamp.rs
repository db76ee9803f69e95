//! Times as a Lease carries them.
//!
//! The `Lease` of `k8s-openapi` refuses a whole object if one time in it is beyond the year 9999. An API server stores and
//! serves such times, and a lock that could not read them would wait for ever.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

use crate::protocol::WallTime;

/// A time in the form in which the lock writes it. The range of years of a Lease is wider than that of any clock.
pub(super) fn micro_time(time: WallTime) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(time.0).unwrap_or(Timestamp::MAX))
}

/// Reads a time of any year in RFC 3339 form. `jiff` reads it in a year that has the same calendar and that it knows; the
/// result is then moved to the year that the text names.
pub(super) fn parse(text: &str) -> Option<WallTime> {
    const CYCLE_YEARS: i64 = 400;
    const CYCLE_MICROSECONDS: i64 = 146_097 * 24 * 3_600 * 1_000_000;
    const KNOWN_YEAR: i64 = 2000;

    let sign = usize::from(text.starts_with(['-', '+']));
    let (year, rest) = text.split_at_checked(sign + text.get(sign..)?.find('-')?)?;
    let since = year.parse::<i64>().ok()?.checked_sub(KNOWN_YEAR)?;
    let twin: Timestamp = format!("{:04}{rest}", KNOWN_YEAR + since.rem_euclid(CYCLE_YEARS)).parse().ok()?;
    let cycles = since.div_euclid(CYCLE_YEARS).checked_mul(CYCLE_MICROSECONDS)?;
    Some(WallTime(cycles.checked_add(twin.as_microsecond())?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 3_600 * 1_000_000;

    #[test]
    fn years_beyond_the_range_of_jiff_are_read() {
        let last = parse("9999-12-30T22:00:00.999999Z").unwrap();
        assert_eq!(parse("9999-12-31T22:00:00.999999Z"), Some(WallTime(last.0 + DAY)));
        assert_eq!(parse("10000-01-01T22:00:00.999999Z"), Some(WallTime(last.0 + 2 * DAY)));
        assert_eq!(parse("10000-12-31T00:00:00.000000Z"), parse("10001-01-01T00:00:00.000000+24:00"));
        let first = parse("0000-01-01T00:00:00.000000Z").unwrap();
        assert_eq!(parse("-0001-12-31T00:00:00.000000Z"), Some(WallTime(first.0 - DAY)));
    }

    #[test]
    fn text_that_is_no_time_is_none() {
        for text in
            ["", "-", "--", "T", "2020", "2020-13-01T00:00:00Z", "9223372036854775807-01-01T00:00:00Z", "ü-ü"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_time_that_jiff_knows_is_read_as_jiff_reads_it(
            micros in Timestamp::MIN.as_microsecond()..=Timestamp::MAX.as_microsecond(),
        ) {
            let text = Timestamp::from_microsecond(micros).unwrap().to_string();
            prop_assert_eq!(parse(&text), Some(WallTime(micros)));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[-+0-9]{0,25}-[-+:.TZ0-9]{0,25}") {
            let _ = parse(&text);
        }
    }
}
