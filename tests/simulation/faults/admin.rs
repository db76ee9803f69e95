//! An administrator who edits, empties and deletes the Lease.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::SignedDuration;
use kube_lease_lock::testing::LeaseServer;
use tokio::time::Instant;

use crate::node::LEASE_NAME;
use crate::rng::Rng;
use crate::trace::Trace;

/// The annotations of the queue.
const QUEUE: [&str; 2] = ["kube-lease-lock/queue", "kube-lease-lock/joining"];

pub(crate) struct Admin {
    pub(crate) server: LeaseServer,
    pub(crate) trace: Trace,
    pub(crate) rng: Rng,
    pub(crate) until: Instant,
    /// If contenders trust wall clocks, setting `renewTime` back takes the Lease away.
    pub(crate) wall_clocks_trusted: bool,
}

impl Admin {
    pub(crate) async fn edit_repeatedly(mut self) {
        while self.rng.sleep(300..=10_000, self.until).await {
            self.edit_once();
        }
    }

    /// Labels the Lease again and again, and changes nothing else.
    pub(crate) async fn label_repeatedly(mut self, rest: u64) {
        while self.rng.sleep(300..=rest, self.until).await {
            let serial = self.rng.u64();
            self.label_with(serial);
        }
    }

    /// Takes the Lease from its holder now and then.
    pub(crate) async fn overwrite_repeatedly(mut self) {
        while self.rng.sleep(10_000..=60_000, self.until).await {
            self.overwrite_holder();
        }
    }

    /// Strips, garbles and restores the queue again and again. Now and then the server forgets its history.
    pub(crate) async fn edit_queue_repeatedly(mut self) {
        let longest = self.rng.pick(&[1_000, 2_000, 10_000]);
        let mut old = BTreeMap::new();
        while self.rng.sleep(300..=longest, self.until).await {
            let annotations = |lease: Lease| lease.metadata.annotations.unwrap_or_default();
            let now = self.server.lease("default", LEASE_NAME).map(annotations).unwrap_or_default();
            match self.rng.number(0..=9) {
                0 => {
                    self.trace.count("faults", "history compacted");
                    self.server.compact();
                }
                1 => old = now,
                2..=4 => self.edit("queue stripped", false, |lease| lease.metadata.annotations = None),
                5..=7 => self.edit("queue restored", false, |lease| {
                    lease.metadata.annotations = Some(old.clone());
                }),
                _ => self.edit("queue garbled", false, |lease| {
                    let annotations = lease.metadata.annotations.get_or_insert_default();
                    annotations.extend(QUEUE.map(|name| (name.to_owned(), "garbage".to_owned())));
                }),
            }
        }
    }

    fn label_with(&self, serial: u64) {
        self.edit("Lease labelled", false, |lease| {
            let labels = lease.metadata.labels.get_or_insert_default();
            labels.insert("serial".into(), serial.to_string());
        });
    }

    fn overwrite_holder(&self) {
        self.edit_spec("holder overwritten", false, |spec| spec.holder_identity = Some("intruder".into()));
    }

    /// Some tools leave such a Lease. Each contender then waits for its own lease duration.
    fn hold_without_times(&self) {
        self.edit_spec("held without times", true, |spec| {
            *spec = LeaseSpec { holder_identity: Some("a tool".into()), ..LeaseSpec::default() };
        });
    }

    fn edit_once(&mut self) {
        if self.rng.includes(2) && self.rng.one_in(12) {
            return self.hold_without_times();
        }
        let (serial, seconds) = (self.rng.u64(), self.rng.number(1..=20));
        let seconds = i32::try_from(seconds).unwrap();
        match self.rng.number(0..=11) {
            0 => self.delete(),
            1 => {
                self.trace.count("faults", "history compacted");
                self.server.compact();
            }
            2..=7 => self.label_with(serial),
            8 => self.overwrite_holder(),
            9 => self.edit_spec("holder emptied", true, |spec| spec.holder_identity = Some(String::new())),
            10 => {
                self.edit_spec("duration changed", true, |spec| spec.lease_duration_seconds = Some(seconds));
            }
            _ => self.edit_spec("renewTime set back", self.wall_clocks_trusted, |spec| {
                if let Some(time) = &mut spec.renew_time {
                    time.0 -= SignedDuration::from_secs(100);
                }
            }),
        }
    }

    fn delete(&self) {
        if self.server.delete("default", LEASE_NAME) {
            self.record("Lease deleted", true);
        }
    }

    fn edit_spec(&self, what: &'static str, weakens: bool, edit: impl FnOnce(&mut LeaseSpec)) {
        self.edit(what, weakens, |lease| edit(lease.spec.get_or_insert_default()));
    }

    fn edit(&self, what: &'static str, weakens: bool, edit: impl FnOnce(&mut Lease)) {
        let before = self.server.revision();
        self.server.edit("default", LEASE_NAME, edit);
        if self.server.revision() > before {
            self.record(what, weakens);
        }
    }

    fn record(&self, what: &'static str, weakens: bool) {
        self.trace.count("faults", what);
        self.trace.log("admin", || what.into());
        self.trace.admin_edited(self.server.revision(), weakens);
    }
}
