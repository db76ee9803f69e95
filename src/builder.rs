//! The builder: all settings, their units and their defaults.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::clock::Clock;
use crate::error::BuildError;
use crate::lock::LeaseLock;
use crate::pace::seeded_rng;
use crate::settings::{CreateMode, Given};

/// Sets up a [`LeaseLock`].
///
/// | setting | default | what it is |
/// |---|---|---|
/// | [`namespace`](Self::namespace) | the client's | where the Lease is |
/// | [`identity`](Self::identity) | `$POD_NAME`, else the host name | who holds it, for people; every acquisition adds a unique suffix |
/// | [`lease_duration`](Self::lease_duration) | 15 s | how long others wait after a crash |
/// | [`renew_deadline`](Self::renew_deadline) | 2/3 of `lease_duration` | how long the holder trusts an unconfirmed Lease |
/// | [`renew_interval`](Self::renew_interval) | 1/2 of `renew_deadline` | from one renewal to the next |
/// | [`request_timeout`](Self::request_timeout) | 3/10 of `renew_deadline` | the bound on each request |
/// | [`max_clock_skew`](Self::max_clock_skew) | none | opt-in to trust wall clocks at first sight |
/// | [`field_manager`](Self::field_manager) | `kube-lease-lock` | the owner of the fields in Server-Side Apply |
/// | [`create_mode`](Self::create_mode) | [`CreateMode::IfMissing`] | whether the lock may create the Lease |
/// | [`label`](Self::label), [`annotation`](Self::annotation), [`owner`](Self::owner) | none | of a Lease that the lock creates |
///
/// # Example
///
/// ```
/// # fn example(client: kube::Client) -> Result<(), kube_lease_lock::BuildError> {
/// use std::time::Duration;
/// use kube_lease_lock::LeaseLock;
///
/// let lock = LeaseLock::builder(client, "nightly-report")
///     .namespace("reports")
///     .identity("report-runner")
///     .lease_duration(Duration::from_secs(30))
///     .label("app", "reports")
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct LeaseLockBuilder {
    client: kube::Client,
    name: String,
    given: Given,
    clock: Option<Clock>,
    rng: Option<fastrand::Rng>,
}

impl LeaseLockBuilder {
    pub(crate) fn new(client: kube::Client, name: String) -> Self {
        Self { client, name, given: Given::default(), clock: None, rng: None }
    }

    /// The namespace of the Lease. Default: that of the client, which in a pod is the pod's own.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.given.namespace = Some(namespace.into());
        self
    }

    /// Who holds the Lease, for people to read; need not be unique. 1 to 200 printable characters. Default: the
    /// environment variable `POD_NAME`, else the host name, which in a pod is the pod's name.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.given.identity = Some(identity.into());
        self
    }

    /// How long contenders wait after the holder's last renewal before they take over; so also how long a
    /// crashed holder blocks them. Whole seconds, from 3 seconds to 24 hours. Default: 15 seconds.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.given.lease_duration = Some(duration);
        self
    }

    /// How long the holder trusts the Lease after sending the last renewal that succeeded: then the token
    /// fires. The distance to `lease_duration` is the time that the work has to stop. At most 98 % of
    /// `lease_duration` and at least one second less. Default: 2/3 of it.
    pub fn renew_deadline(mut self, deadline: Duration) -> Self {
        self.given.renew_deadline = Some(deadline);
        self
    }

    /// The time from one renewal to the next: the load that a holder puts on the API server. At least 1 second,
    /// and one `request_timeout` shorter than `renew_deadline`. Default: half of `renew_deadline`.
    ///
    /// The first renewal comes earlier, after half of it to all of it, by chance: locks that were acquired together are
    /// not renewed together.
    pub fn renew_interval(mut self, interval: Duration) -> Self {
        self.given.renew_interval = Some(interval);
        self
    }

    /// The bound on each single request, above the client's own timeouts and retries. At least 100
    /// milliseconds. Default: 3/10 of `renew_deadline`.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.given.request_timeout = Some(timeout);
        self
    }

    /// Trusts wall clocks to differ by no more than `skew`, and on these grounds takes over, at first sight, a
    /// Lease that expired longer ago than that. Saves a newcomer the wait for a holder long dead. Default: not
    /// set; a Lease seen for the first time is left alone for its whole duration, and wall clocks may differ by
    /// any amount.
    pub fn max_clock_skew(mut self, skew: Duration) -> Self {
        self.given.max_clock_skew = Some(skew);
        self
    }

    /// The field manager of all writes, 1 to 128 printable characters. Default: `kube-lease-lock`.
    pub fn field_manager(mut self, manager: impl Into<String>) -> Self {
        self.given.field_manager = Some(manager.into());
        self
    }

    /// Whether the lock may, must or must not create the Lease. Default: [`CreateMode::IfMissing`].
    pub fn create_mode(mut self, mode: CreateMode) -> Self {
        self.given.creation.mode = mode;
        self
    }

    /// A label on a Lease that the lock creates. Existing Leases keep theirs.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.given.creation.labels.insert(key.into(), value.into());
        self
    }

    /// An annotation on a Lease that the lock creates. Existing Leases keep theirs.
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.given.creation.annotations.insert(key.into(), value.into());
        self
    }

    /// The owner of a Lease that the lock creates: with the owner's deletion the Lease goes too.
    pub fn owner(mut self, owner: OwnerReference) -> Self {
        self.given.creation.owner = Some(owner);
        self
    }

    /// Puts the lock on a machine of its own, with a clock and troubles that the test decides.
    #[cfg(feature = "testing")]
    pub fn machine(mut self, machine: &crate::testing::Machine) -> Self {
        self.clock = Some(Clock::of(machine.clone()));
        self
    }

    /// Draws all that is left to chance, holder suffixes, jitter and back-off, from this seed, so that a test
    /// can be replayed. Default: seeded by the operating system.
    #[cfg(feature = "testing")]
    pub fn rng_seed(mut self, seed: u64) -> Self {
        self.rng = Some(fastrand::Rng::with_seed(seed));
        self
    }

    /// Checks all settings, and makes the lock. No request is sent.
    ///
    /// # Errors
    ///
    /// [`BuildError`], which names the setting, its value and the rule that it breaks.
    pub fn build(self) -> Result<LeaseLock, BuildError> {
        let settings = self.given.validate(self.name, self.client.default_namespace())?;
        let clock = self.clock.unwrap_or_else(Clock::system);
        let rng = self.rng.unwrap_or_else(seeded_rng);
        Ok(LeaseLock::from_settings(self.client, settings, clock, rng))
    }
}
