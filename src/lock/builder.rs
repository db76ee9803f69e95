//! The builder: every setting with its unit and its default.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::LeaseLock;
use crate::clock::Clock;
use crate::error::BuildError;
use crate::lock_core::LockCore;
use crate::protocol::CreateMode;
use crate::random::Random;
use crate::settings::Options;

/// Sets up a [`LeaseLock`].
///
/// | setting | default | meaning |
/// |---|---|---|
/// | [`namespace`](Self::namespace) | the client's | the namespace of the Lease |
/// | [`identity`](Self::identity) | `$POD_NAME`, else the host name | the name of the holder, for people; each acquisition adds a unique suffix |
/// | [`lease_duration`](Self::lease_duration) | 15 s | how long other processes wait after a crash |
/// | [`renew_deadline`](Self::renew_deadline) | 2/3 of `lease_duration` | how long the holder trusts a Lease without a confirmed renewal |
/// | [`renew_interval`](Self::renew_interval) | 1/2 of `renew_deadline` | the time from one renewal to the next |
/// | [`request_timeout`](Self::request_timeout) | a write: what the renewals leave; otherwise 5 s | the bound on each request |
/// | [`startup_timeout`](Self::startup_timeout) | 1 minute | how long `acquire` waits for the first answer of an API server, and for accepted credentials |
/// | [`max_clock_skew`](Self::max_clock_skew) | none | trust wall clocks when a Lease is seen for the first time |
/// | [`field_manager`](Self::field_manager) | `kube-lease-lock` | the owner of the fields in Server-Side Apply |
/// | [`create_mode`](Self::create_mode) | [`CreateMode::IfMissing`] | whether the lock may create the Lease |
/// | [`label`](Self::label), [`annotation`](Self::annotation), [`owner`](Self::owner) | none | metadata of a Lease that the lock creates |
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
    options: Options,
    clock: Option<Clock>,
    seed: Option<u64>,
}

impl LeaseLock {
    /// A lock on the Lease `name` in the namespace of the client, with all defaults.
    ///
    /// # Errors
    ///
    /// [`BuildError`] if no Lease can have this name.
    pub fn new(client: kube::Client, name: impl Into<String>) -> Result<Self, BuildError> {
        Self::builder(client, name).build()
    }

    /// Sets up a lock on the Lease `name`.
    pub fn builder(client: kube::Client, name: impl Into<String>) -> LeaseLockBuilder {
        LeaseLockBuilder { client, name: name.into(), options: Options::default(), clock: None, seed: None }
    }
}

impl LeaseLockBuilder {
    /// The namespace of the Lease. Default: the namespace of the client, which in a pod is the pod's own.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.options.namespace = Some(namespace.into());
        self
    }

    /// The name of the holder, for people to read. It need not be unique. 1 to 200 printable characters. Default: the
    /// environment variable `POD_NAME`, else the host name, which in most pods is the pod's name. If neither can be found, as on
    /// macOS, `process-` and the process id.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.options.identity = Some(identity.into());
        self
    }

    /// How long contenders wait after the holder's last renewal before they take over. A crashed holder blocks them for this
    /// time. Whole seconds, from 3 seconds to 24 hours. Default: 15 seconds.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.options.lease_duration = Some(duration);
        self
    }

    /// How long the holder trusts the Lease after it has sent the last renewal that succeeded. Then the token is cancelled.
    /// The work has the time between this and `lease_duration` to stop. At most 98 % of `lease_duration`, and at least one
    /// second less. Default: 2/3 of `lease_duration`.
    pub fn renew_deadline(mut self, deadline: Duration) -> Self {
        self.options.renew_deadline = Some(deadline);
        self
    }

    /// The time from one renewal to the next. It decides how much load a holder puts on the API server. At least 1 second,
    /// and at least one `request_timeout` shorter than `renew_deadline`. Default: one half of `renew_deadline`.
    ///
    /// The first renewal comes earlier by chance, after one half to all of this time. Locks that were acquired together are
    /// then not renewed together.
    pub fn renew_interval(mut self, interval: Duration) -> Self {
        self.options.renew_interval = Some(interval);
        self
    }

    /// The bound on each request, whatever timeouts and retries the client has itself. At least 100 milliseconds. Default: for a
    /// write of the record, `renew_deadline` less `renew_interval`, but at most one half of `renew_deadline`; for any other
    /// request, 5 seconds.
    ///
    /// A request without an answer is sent again after 2.5 seconds, or after one half of this time if that is less, and then
    /// every few seconds. The first one stays in flight, because a slow server cancels a request that its client gives up. So
    /// the lock is acquired and kept with a server that needs all of the default time for each write, unless other processes join
    /// the queue just then: a renewal that a join comes before has to be sent again. A lost packet costs seconds, however long
    /// the lease is.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.options.request_timeout = Some(timeout);
        self
    }

    /// How long [`acquire`](LeaseLock::acquire) waits for the first answer of an API server, until it fails with
    /// [`AcquireError::Unreachable`](crate::AcquireError::Unreachable). Default: 1 minute. After the first answer it waits as long
    /// as it takes.
    ///
    /// At any later time it is also the limit for refusals that may pass, counted from the first one in a row: credentials that are
    /// not accepted ([`AcquireError::Unauthenticated`](crate::AcquireError::Unauthenticated)), because tokens rotate, and an exceeded
    /// quota ([`AcquireError::Refused`](crate::AcquireError::Refused)), because quotas are raised.
    ///
    /// It should be longer than the time that a sidecar proxy needs to become ready. Only a wrong address or wrong credentials make
    /// an `acquire` wait for so long in vain. [`acquire_timeout`](LeaseLock::acquire_timeout) waits for its own timeout instead.
    pub fn startup_timeout(mut self, timeout: Duration) -> Self {
        self.options.startup_timeout = Some(timeout);
        self
    }

    /// Trusts that wall clocks differ by no more than `skew`. If the wall clock says that a Lease expired longer ago than
    /// `skew`, the lock takes it over when it sees it for the first time, and does not wait for a holder that crashed long ago.
    ///
    /// Default: not set. The lock then waits for the whole duration of a Lease that it sees for the first time, and wall
    /// clocks may differ by any amount.
    pub fn max_clock_skew(mut self, skew: Duration) -> Self {
        self.options.max_clock_skew = Some(skew);
        self
    }

    /// The field manager of all writes, 1 to 128 printable characters. Default: `kube-lease-lock`.
    pub fn field_manager(mut self, manager: impl Into<String>) -> Self {
        self.options.field_manager = Some(manager.into());
        self
    }

    /// Whether the lock may, must or must not create the Lease. Default: [`CreateMode::IfMissing`].
    pub fn create_mode(mut self, mode: CreateMode) -> Self {
        self.options.create_mode = mode;
        self
    }

    /// A label on a Lease that the lock creates. An existing Lease keeps its labels.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.template.labels.insert(key.into(), value.into());
        self
    }

    /// An annotation on a Lease that the lock creates. An existing Lease keeps its annotations.
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.template.annotations.insert(key.into(), value.into());
        self
    }

    /// The owner of a Lease that the lock creates. If the owner is deleted, Kubernetes deletes the Lease too.
    ///
    /// The owner has to exist, in the namespace of the Lease or outside of any namespace. Otherwise Kubernetes deletes the Lease as
    /// soon as it is created. Do not name the pod itself: its Lease would be deleted under the next holder.
    pub fn owner(mut self, owner: OwnerReference) -> Self {
        self.options.template.owner = Some(owner);
        self
    }

    /// For tests (feature `testing`): runs the lock on a machine that the test can suspend and freeze.
    ///
    /// Default: the machine that the process runs on.
    #[cfg(feature = "testing")]
    pub fn machine(mut self, machine: &crate::testing::Machine) -> Self {
        self.clock = Some(Clock::of(machine.clone()));
        self
    }

    /// The seed of all randomness: holder suffixes, jitter and backoff. A test with a seed can be replayed. Give each lock a
    /// seed of its own: locks with the same seed draw the same holder suffixes, and then do not exclude each other.
    ///
    /// Default: holder suffixes come from the operating system, one by one, and so does the seed of the rest.
    #[doc(hidden)]
    #[cfg(feature = "testing")]
    pub fn rng_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Checks all settings, and makes the lock. It sends no request.
    ///
    /// # Errors
    ///
    /// [`BuildError`], which names the setting, its value and the rule that the value breaks.
    pub fn build(self) -> Result<LeaseLock, BuildError> {
        let settings = self.options.validate(self.name, self.client.default_namespace())?;
        let clock = self.clock.unwrap_or_else(Clock::system);
        let random = self.seed.map_or_else(Random::system, Random::seeded);
        Ok(LeaseLock::from_core(LockCore::new(self.client, settings, clock, random)))
    }
}
