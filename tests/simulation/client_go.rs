//! A contender that behaves as client-go's leader election does, with its default timings.
//!
//! Its requests are answered within a bounded time, and its machine is never frozen. It relies on that: it stops
//! leading by a timer that starts with a response.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube_lease_lock::testing::{Fault, LeaseServer, Link, Verb};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::node::LEASE_NAME;
use crate::rng::Rng;
use crate::trace::Trace;

const LEASE_DURATION: i32 = 15;
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY_PERIOD: Duration = Duration::from_secs(2);

pub(crate) struct ClientGo {
    identity: String,
    link: Link,
    leases: Api<Lease>,
    trace: Trace,
    rng: Rng,
    until: Instant,
    reliable: bool,
    started: Instant,
    observed: Option<Observed>,
}

/// The last record that was read or written, and when.
struct Observed {
    lease: Lease,
    at: Instant,
}

impl ClientGo {
    const IDENTITY: &str = "client-go-";

    pub(crate) fn is_one(holder: &str) -> bool {
        holder.starts_with(Self::IDENTITY)
    }

    pub(crate) fn new(
        index: u64,
        server: &LeaseServer,
        trace: Trace,
        rng: Rng,
        until: Instant,
        reliable: bool,
    ) -> Self {
        let link = server.connect();
        let leases = Api::default_namespaced(link.client());
        let (identity, started) = (format!("{}{index}", Self::IDENTITY), Instant::now());
        Self { identity, link, leases, trace, rng, until, reliable, started, observed: None }
    }

    pub(crate) async fn run(mut self) {
        sleep(self.rng.millis(0..=5_000)).await;
        while Instant::now() < self.until {
            self.inject_fault();
            if timeout(RENEW_DEADLINE, self.acquire_or_renew()).await == Ok(true) {
                self.lead().await;
            }
            sleep(RETRY_PERIOD + self.rng.millis(0..=2_400)).await;
        }
    }

    /// Leads until a renewal takes too long or the work is done.
    async fn lead(&mut self) {
        let token = CancellationToken::new();
        self.trace.leads(&self.identity, self.revision(), &token);
        let stop_at = self.until.min(Instant::now() + self.rng.millis(0..=20_000));
        loop {
            self.inject_fault();
            if timeout(RENEW_DEADLINE, self.renew()).await.is_err() {
                self.trace.log(&self.identity, || "stops leading: no renewal in time".into());
                return token.cancel();
            }
            if Instant::now() >= stop_at {
                break;
            }
            sleep(RETRY_PERIOD).await;
        }
        self.trace.log(&self.identity, || "stops leading, and releases".into());
        token.cancel();
        drop(timeout(RENEW_DEADLINE, self.release()).await);
    }

    async fn renew(&mut self) {
        while !self.acquire_or_renew().await {
            sleep(RETRY_PERIOD).await;
        }
    }

    /// One attempt, as in `tryAcquireOrRenew`.
    async fn acquire_or_renew(&mut self) -> bool {
        if self.is_leader() && self.is_valid() {
            let observed = self.observed.as_ref().map(|observed| observed.lease.clone());
            if self.write(observed).await {
                return true;
            }
        }
        let Ok(read) = self.leases.get_opt(LEASE_NAME).await else {
            return false;
        };
        let Some(lease) = read else {
            return self.write(None).await;
        };
        if self.observed.as_ref().is_none_or(|observed| record(&observed.lease) != record(&lease)) {
            self.observed = Some(Observed { lease: lease.clone(), at: Instant::now() });
        }
        if !holder(&lease).is_empty() && self.is_valid() && !self.is_leader() {
            return false;
        }
        self.write(Some(lease)).await
    }

    /// Writes its record over that of `lease`, if that version is still the current one.
    async fn write(&mut self, lease: Option<Lease>) -> bool {
        let now = MicroTime(self.now());
        let mut lease = lease.unwrap_or_default();
        lease.metadata.name = Some(LEASE_NAME.into());
        let mine = holder(&lease) == self.identity;
        let old = lease.spec.take().unwrap_or_default();
        let transitions = old.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(LEASE_DURATION),
            acquire_time: old.acquire_time.filter(|_| mine).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if mine { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        });
        let params = PostParams::default();
        let written = if lease.metadata.resource_version.is_some() {
            self.leases.replace(LEASE_NAME, &params, &lease).await
        } else {
            self.leases.create(&params, &lease).await
        };
        if let Ok(lease) = written {
            self.observed = Some(Observed { lease, at: Instant::now() });
            return true;
        }
        false
    }

    async fn release(&mut self) {
        let Ok(Some(mut lease)) = self.leases.get_opt(LEASE_NAME).await else {
            return;
        };
        if holder(&lease) != self.identity {
            return;
        }
        let now = MicroTime(self.now());
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.acquire_time = Some(now.clone());
        spec.renew_time = Some(now);
        if let Ok(lease) = self.leases.replace(LEASE_NAME, &PostParams::default(), &lease).await {
            self.observed = Some(Observed { lease, at: Instant::now() });
        }
    }

    /// A request fails now and then, but within a bounded time.
    fn inject_fault(&mut self) {
        self.link.heal();
        if self.reliable || !self.rng.one_in(3) {
            return;
        }
        let fault = match self.rng.number(0..=6) {
            0 => Fault::status(500),
            1 => Fault::reset(),
            2 => Fault::lose_reply(),
            3 => Fault::delay_before(self.rng.millis(1..=1_000)),
            4 => Fault::delay_after(self.rng.millis(1..=1_000)),
            5 => Fault::replay(),
            _ => Fault::hang(),
        };
        self.trace.count("faults", "on client-go");
        self.link.inject(fault.on_any(&[Verb::Get, Verb::Update, Verb::Create]).times(1));
    }

    fn is_leader(&self) -> bool {
        self.observed.as_ref().is_some_and(|observed| holder(&observed.lease) == self.identity)
    }

    fn is_valid(&self) -> bool {
        self.observed.as_ref().is_some_and(|observed| {
            let spec = observed.lease.spec.as_ref();
            let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
            observed.at.elapsed() < Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        })
    }

    fn revision(&self) -> u64 {
        let version = self.observed.as_ref().and_then(|o| o.lease.metadata.resource_version.as_deref());
        version.unwrap().parse().unwrap()
    }

    /// In whole seconds, as in `metav1.Time`.
    fn now(&self) -> Timestamp {
        let seconds = 1_700_086_400 + self.started.elapsed().as_secs();
        Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap()
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// The fields that client-go compares, with times in whole seconds.
fn record(lease: &Lease) -> (String, Option<i32>, Option<i64>, Option<i64>, Option<i32>) {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = |time: Option<MicroTime>| time.map(|time| time.0.as_second());
    (
        spec.holder_identity.unwrap_or_default(),
        spec.lease_duration_seconds,
        seconds(spec.acquire_time),
        seconds(spec.renew_time),
        spec.lease_transitions,
    )
}
