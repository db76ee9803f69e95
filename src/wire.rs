//! A Lease as it comes over the wire: only what the lock reads, so that nothing else can keep it from being read.
//!
//! The `Lease` of `k8s-openapi` refuses the whole object where one time is beyond the year 9999. An API server
//! stores and serves such times, and a lock that could not read them would wait for ever.

use k8s_openapi::jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, Error};

use crate::time::Stamp;

/// A Lease.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct Object {
    pub metadata: Metadata,
    pub spec: Option<Spec>,
}

/// What identifies a Lease and its version.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub name: Option<String>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub annotations: Option<Annotations>,
}

/// The one annotation that is ours.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct Annotations {
    #[serde(rename = "kube-lease-lock/queue")]
    pub queue: Option<String>,
}

/// Who holds a Lease.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub holder_identity: Option<String>,
    pub lease_duration_seconds: Option<i64>,
    pub acquire_time: Option<Time>,
    pub renew_time: Option<Time>,
    pub lease_transitions: Option<i64>,
}

/// A time of any year.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time(pub Stamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = stamp(&text).map(Time);
        time.ok_or_else(|| D::Error::custom(format_args!("{text:?} is not a time as RFC 3339 has it")))
    }
}

/// Reads the time in a year that has the same calendar and that `jiff` knows, and moves it to its own.
fn stamp(text: &str) -> Option<Stamp> {
    const CYCLE: i64 = 400;
    const CYCLE_MICROSECONDS: i64 = 146_097 * 24 * 3_600 * 1_000_000;
    const KNOWN: i64 = 2000;

    let sign = usize::from(text.starts_with(['-', '+']));
    let (year, rest) = text.split_at_checked(sign + text.get(sign..)?.find('-')?)?;
    let since = year.parse::<i64>().ok()?.checked_sub(KNOWN)?;
    let twin: Timestamp = format!("{:04}{rest}", KNOWN + since.rem_euclid(CYCLE)).parse().ok()?;
    let cycles = since.div_euclid(CYCLE).checked_mul(CYCLE_MICROSECONDS)?;
    Some(Stamp(cycles.checked_add(twin.as_microsecond())?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 3_600 * 1_000_000;

    #[test]
    fn years_that_nobody_else_reads_are_read() {
        let last = stamp("9999-12-30T22:00:00.999999Z").unwrap();
        assert_eq!(stamp("9999-12-31T22:00:00.999999Z"), Some(Stamp(last.0 + DAY)));
        assert_eq!(stamp("10000-01-01T22:00:00.999999Z"), Some(Stamp(last.0 + 2 * DAY)));
        assert_eq!(stamp("10000-12-31T00:00:00.000000Z"), stamp("10001-01-01T00:00:00.000000+24:00"));
        let first = stamp("0000-01-01T00:00:00.000000Z").unwrap();
        assert_eq!(stamp("-0001-12-31T00:00:00.000000Z"), Some(Stamp(first.0 - DAY)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in
            ["", "-", "--", "T", "2020", "2020-13-01T00:00:00Z", "9223372036854775807-01-01T00:00:00Z", "ü-ü"]
        {
            assert_eq!(stamp(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_time_that_jiff_knows_is_read_as_jiff_reads_it(
            micros in Timestamp::MIN.as_microsecond()..=Timestamp::MAX.as_microsecond(),
        ) {
            let text = Timestamp::from_microsecond(micros).unwrap().to_string();
            prop_assert_eq!(stamp(&text), Some(Stamp(micros)));
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC*|[-+0-9]{0,25}-[-+:.TZ0-9]{0,25}") {
            let _ = stamp(&text);
        }
    }
}
