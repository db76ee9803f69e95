//! The settings of a lock: their defaults, and the one place that validates them.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::clock::Clock;
use crate::error::BuildError;
use crate::lease::LeaseName;
use crate::protocol::{CLOCK_RATE_ERROR, CreateMode, Timings};

/// The settings as the user gave them. `None` means "the default".
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub namespace: Option<String>,
    pub identity: Option<String>,
    pub lease_duration: Option<Duration>,
    pub renew_deadline: Option<Duration>,
    pub renew_interval: Option<Duration>,
    pub request_timeout: Option<Duration>,
    pub startup_timeout: Option<Duration>,
    pub max_clock_skew: Option<Duration>,
    pub field_manager: Option<String>,
    pub create_mode: CreateMode,
    pub template: LeaseTemplate,
}

/// The metadata of a Lease that the lock creates.
#[derive(Debug, Clone, Default)]
pub(crate) struct LeaseTemplate {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub owner: Option<OwnerReference>,
}

/// Settings that work together. A hold trusts `timings`; `renew_deadline` is the value that the user knows.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub lease: LeaseName,
    pub identity: String,
    pub renew_deadline: Duration,
    pub timings: Timings,
    /// The bound on a write of the record.
    pub write_timeout: Duration,
    /// The bound on every other request.
    pub read_timeout: Duration,
    pub max_clock_skew: Option<Duration>,
    pub field_manager: String,
    pub create_mode: CreateMode,
    pub template: LeaseTemplate,
}

const DEFAULT_LEASE_DURATION: Duration = Duration::from_secs(15);
const MIN_LEASE_DURATION: Duration = Duration::from_secs(3);
const MAX_LEASE_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
const SECOND: Duration = Duration::from_secs(1);
const MIN_REQUEST_TIMEOUT: Duration = Duration::from_millis(100);
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

impl Options {
    pub(crate) fn validate(self, name: String, default_namespace: &str) -> Result<Settings, BuildError> {
        let namespace = self.namespace.unwrap_or_else(|| default_namespace.to_owned());
        check("name", &name, is_subdomain, SUBDOMAIN_RULE)?;
        check("namespace", &namespace, is_label, LABEL_RULE)?;
        let identity = self.identity.unwrap_or_else(default_identity);
        check(
            "identity",
            &identity,
            |s| is_printable(s, 200),
            "1 to 200 characters, none of them a control character",
        )?;
        let field_manager = self.field_manager.unwrap_or_else(|| "kube-lease-lock".to_owned());
        check(
            "field_manager",
            &field_manager,
            |s| is_printable(s, 128),
            "1 to 128 characters, none of them a control character",
        )?;

        let lease_duration = self.lease_duration.unwrap_or(DEFAULT_LEASE_DURATION);
        let renew_deadline = self.renew_deadline.unwrap_or(lease_duration / 3 * 2);
        let renew_interval = self.renew_interval.unwrap_or_else(|| (renew_deadline / 2).max(SECOND));
        let write_timeout = self.request_timeout.unwrap_or_else(|| {
            // A write that takes longer than one half of the deadline leaves no time for the renewal after it.
            let left = renew_deadline.saturating_sub(renew_interval).min(renew_deadline / 2);
            left.max(MIN_REQUEST_TIMEOUT)
        });
        check_timings(lease_duration, renew_deadline, renew_interval, write_timeout)?;
        // A timer completes up to its granularity late. The token must not be cancelled late.
        let token_deadline = renew_deadline.saturating_sub(Clock::GRANULARITY);

        Ok(Settings {
            lease: LeaseName::new(namespace, name),
            identity,
            renew_deadline,
            timings: Timings {
                lease_duration,
                token_deadline,
                renew_interval,
                startup_timeout: self.startup_timeout.unwrap_or(DEFAULT_STARTUP_TIMEOUT),
                max_pause: renew_interval / 4,
            },
            write_timeout,
            read_timeout: self.request_timeout.unwrap_or(DEFAULT_READ_TIMEOUT),
            max_clock_skew: self.max_clock_skew,
            field_manager,
            create_mode: self.create_mode,
            template: self.template,
        })
    }
}

/// Checks every inequality between the durations, one after the other.
fn check_timings(
    lease_duration: Duration,
    renew_deadline: Duration,
    renew_interval: Duration,
    request_timeout: Duration,
) -> Result<(), BuildError> {
    let out_of_range = |setting, value, rule| Err(BuildError::OutOfRange { setting, value, rule });
    if lease_duration.subsec_nanos() != 0 {
        return out_of_range(
            "lease_duration",
            lease_duration,
            "whole seconds, because that is what a Lease stores",
        );
    }
    if lease_duration < MIN_LEASE_DURATION || lease_duration > MAX_LEASE_DURATION {
        return out_of_range("lease_duration", lease_duration, "between 3 seconds and 24 hours");
    }
    if renew_interval < SECOND {
        return out_of_range(
            "renew_interval",
            renew_interval,
            "at least 1 second, because others compare whole seconds",
        );
    }
    if request_timeout < MIN_REQUEST_TIMEOUT {
        return out_of_range("request_timeout", request_timeout, "at least 100 milliseconds");
    }

    let contradiction = |value, other, other_value, rule| {
        Err(BuildError::Contradiction { setting: "renew_deadline", value, other, other_value, rule })
    };
    let by_rate = lease_duration.mul_f64((1.0 - CLOCK_RATE_ERROR) / (1.0 + CLOCK_RATE_ERROR));
    if renew_deadline > by_rate {
        let rule =
            "renew_deadline may be at most 98 % of lease_duration, because clocks run at different rates";
        return contradiction(renew_deadline, "lease_duration", lease_duration, rule);
    }
    if renew_deadline.saturating_add(SECOND) > lease_duration {
        let rule = "renew_deadline has to be at least 1 second shorter than lease_duration, because others compare whole seconds";
        return contradiction(renew_deadline, "lease_duration", lease_duration, rule);
    }
    if renew_interval >= renew_deadline {
        let rule = "renew_deadline has to be longer than renew_interval, or no renewal could come in time";
        return contradiction(renew_deadline, "renew_interval", renew_interval, rule);
    }
    if renew_interval.saturating_add(request_timeout) > renew_deadline {
        let rule = "one request_timeout has to fit between renew_interval and renew_deadline, or one slow request would lose the lock";
        return contradiction(renew_deadline, "request_timeout", request_timeout, rule);
    }
    Ok(())
}

fn check(
    setting: &'static str,
    value: &str,
    valid: impl Fn(&str) -> bool,
    rule: &'static str,
) -> Result<(), BuildError> {
    if valid(value) { Ok(()) } else { Err(BuildError::Invalid { setting, value: value.to_owned(), rule }) }
}

const SUBDOMAIN_RULE: &str = "1 to 253 lower-case letters, digits, '-' and '.', each part between dots starting and ending with a letter or digit";
const LABEL_RULE: &str =
    "1 to 63 lower-case letters, digits and '-', starting and ending with a letter or digit";

/// RFC 1123 subdomain, as Kubernetes wants the names of Leases.
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_part)
}

/// RFC 1123 label, as Kubernetes wants the names of namespaces.
fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

fn is_part(part: &str) -> bool {
    let alphanumeric = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = part.as_bytes();
    alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|b| alphanumeric(Some(b)) || *b == b'-')
}

fn is_printable(text: &str, most: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control)
}

/// The name of the pod from the downward API (`POD_NAME`), else the host name. In a pod the host name is the pod's name as
/// well.
fn default_identity() -> String {
    let variable = |name| std::env::var(name).ok();
    let host_file = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    [variable("POD_NAME"), variable("HOSTNAME"), host_file(), variable("COMPUTERNAME")]
        .into_iter()
        .flatten()
        .map(|name| name.trim().to_owned())
        .find(|name| is_printable(name, 200))
        .unwrap_or_else(|| format!("process-{}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    fn validate(options: Options) -> Result<Settings, BuildError> {
        options.validate("a-lock".into(), "default")
    }

    #[test]
    fn the_defaults_work_at_every_lease_duration() {
        for secs in (3..100).chain([1000, 86_400]) {
            let settings =
                validate(Options { lease_duration: Some(seconds(f64::from(secs))), ..Options::default() });
            assert!(settings.is_ok(), "{secs} s: {settings:?}");
        }
        let settings = validate(Options::default()).unwrap();
        assert_eq!(settings.timings.lease_duration, Duration::from_secs(15));
        assert_eq!(settings.renew_deadline, Duration::from_secs(10));
        assert_eq!(settings.timings.token_deadline, Duration::from_millis(9_999));
        assert_eq!(settings.timings.renew_interval, Duration::from_secs(5));
        assert_eq!(settings.write_timeout, Duration::from_secs(5));
        assert_eq!(settings.read_timeout, Duration::from_secs(5));
        assert!(!settings.identity.is_empty());
    }

    #[test]
    fn by_default_a_write_has_all_the_time_that_the_deadline_leaves() {
        let settings = |options| validate(options).unwrap();
        let long = settings(Options {
            lease_duration: Some(seconds(270.0)),
            renew_deadline: Some(seconds(240.0)),
            renew_interval: Some(seconds(60.0)),
            ..Options::default()
        });
        assert_eq!((long.write_timeout, long.read_timeout), (seconds(120.0), seconds(5.0)));
        let chosen = settings(Options { request_timeout: Some(seconds(2.0)), ..Options::default() });
        assert_eq!((chosen.write_timeout, chosen.read_timeout), (seconds(2.0), seconds(2.0)));
    }

    #[test]
    fn names_follow_the_rules_of_kubernetes() {
        for name in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a.", "a/b", "ü", &"a".repeat(254)] {
            let error = Options::default().validate(name.into(), "default").unwrap_err();
            assert!(matches!(&error, BuildError::Invalid { setting: "name", .. }), "{name:?}: {error}");
        }
        for namespace in ["", "a.b", "A", &"a".repeat(64)] {
            let error = Options::default().validate("a".into(), namespace).unwrap_err();
            assert!(
                matches!(&error, BuildError::Invalid { setting: "namespace", .. }),
                "{namespace:?}: {error}"
            );
        }
        assert!(Options::default().validate("a.b-c.9".into(), "a-9").is_ok());
        assert!(Options::default().validate("a".repeat(253), &"a".repeat(63)).is_ok());
    }

    #[test]
    fn blank_or_unprintable_identities_are_refused() {
        for identity in ["", "  ", "a\nb", &"x".repeat(201)] {
            let error =
                validate(Options { identity: Some(identity.into()), ..Options::default() }).unwrap_err();
            assert!(matches!(error, BuildError::Invalid { setting: "identity", .. }));
        }
        let error =
            validate(Options { field_manager: Some(String::new()), ..Options::default() }).unwrap_err();
        assert!(matches!(error, BuildError::Invalid { setting: "field_manager", .. }));
    }

    #[test]
    fn absurd_durations_are_refused_by_name_and_value() {
        for absurd in [0.0, 0.5, 1.0, 2.0, 3.5, 86_401.0, 1e15] {
            let error = validate(Options { lease_duration: Some(seconds(absurd)), ..Options::default() })
                .unwrap_err();
            assert!(
                matches!(error, BuildError::OutOfRange { setting: "lease_duration", .. }),
                "{absurd}: {error}"
            );
        }
        for (options, setting) in [
            (Options { renew_interval: Some(seconds(0.9)), ..Options::default() }, "renew_interval"),
            (Options { request_timeout: Some(seconds(0.0)), ..Options::default() }, "request_timeout"),
        ] {
            let error = validate(options).unwrap_err();
            assert!(matches!(&error, BuildError::OutOfRange { setting: s, .. } if *s == setting), "{error}");
        }
    }

    #[test]
    fn endless_durations_are_an_error_not_a_panic() {
        let endless = Some(Duration::MAX);
        for options in [
            Options { lease_duration: endless, ..Options::default() },
            Options { renew_deadline: endless, ..Options::default() },
            Options { renew_interval: endless, ..Options::default() },
            Options { request_timeout: endless, ..Options::default() },
        ] {
            validate(options).unwrap_err();
        }
    }

    #[test]
    fn contradictions_name_both_values_and_the_rule() {
        let cases = [
            (Options { renew_deadline: Some(seconds(15.0)), ..Options::default() }, "lease_duration"),
            (Options { renew_deadline: Some(seconds(14.5)), ..Options::default() }, "lease_duration"),
            (
                Options {
                    lease_duration: Some(seconds(1000.0)),
                    renew_deadline: Some(seconds(985.0)),
                    ..Options::default()
                },
                "lease_duration",
            ),
            (Options { renew_interval: Some(seconds(10.0)), ..Options::default() }, "renew_interval"),
            (Options { renew_deadline: Some(seconds(1.0)), ..Options::default() }, "renew_interval"),
            (Options { request_timeout: Some(seconds(5.1)), ..Options::default() }, "request_timeout"),
        ];
        for (options, with) in cases {
            let error = validate(options.clone()).unwrap_err();
            assert!(
                matches!(&error, BuildError::Contradiction { other, .. } if *other == with),
                "{options:?}: {error}"
            );
        }
        let error =
            validate(Options { renew_deadline: Some(seconds(15.0)), ..Options::default() }).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("renew_deadline is 15s and lease_duration is 15s"), "{text}");
    }
}
