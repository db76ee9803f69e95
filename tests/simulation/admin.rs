//! An administrator who edits, empties and deletes the Lease.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::SignedDuration;
use kube_lease_lock::testing::LeaseServer;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::node::NAME;
use crate::story::Story;

pub(crate) struct Admin {
    pub(crate) server: LeaseServer,
    pub(crate) story: Story,
    pub(crate) chance: Chance,
    pub(crate) until: Instant,
    /// Where wall clocks are trusted, setting `renewTime` back takes the Lease away.
    pub(crate) walls_are_trusted: bool,
}

impl Admin {
    pub(crate) async fn meddle(mut self) {
        while self.chance.rest(300..=10_000, self.until).await {
            self.meddle_once();
        }
    }

    /// Labels the Lease, and nothing else, again and again.
    pub(crate) async fn label(mut self, rest: u64) {
        while self.chance.rest(300..=rest, self.until).await {
            let serial = self.chance.u64();
            self.label_with(serial);
        }
    }

    /// Takes the Lease from its holder, now and then.
    pub(crate) async fn take_over(mut self) {
        while self.chance.rest(10_000..=60_000, self.until).await {
            self.overwrite_holder();
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

    /// As some tools leave it. Each contender goes by a duration of its own then.
    fn hold_without_times(&self) {
        self.edit_spec("held without times", true, |spec| {
            *spec = LeaseSpec { holder_identity: Some("a tool".into()), ..LeaseSpec::default() };
        });
    }

    fn meddle_once(&mut self) {
        if self.chance.knows(2) && self.chance.one_in(12) {
            return self.hold_without_times();
        }
        let (serial, seconds) = (self.chance.u64(), self.chance.number(1..=20));
        let seconds = i32::try_from(seconds).unwrap();
        match self.chance.number(0..=11) {
            0 => self.delete(),
            1 => {
                self.story.count("faults", "history compacted");
                self.server.compact();
            }
            2..=7 => self.label_with(serial),
            8 => self.overwrite_holder(),
            9 => self.edit_spec("holder emptied", true, |spec| spec.holder_identity = Some(String::new())),
            10 => {
                self.edit_spec("duration changed", true, |spec| spec.lease_duration_seconds = Some(seconds));
            }
            _ => self.edit_spec("renewTime set back", self.walls_are_trusted, |spec| {
                if let Some(time) = &mut spec.renew_time {
                    time.0 -= SignedDuration::from_secs(100);
                }
            }),
        }
    }

    fn delete(&self) {
        if self.server.delete("default", NAME) {
            self.tell("Lease deleted", true);
        }
    }

    fn edit_spec(&self, what: &'static str, weakens: bool, edit: impl FnOnce(&mut LeaseSpec)) {
        self.edit(what, weakens, |lease| edit(lease.spec.get_or_insert_default()));
    }

    fn edit(&self, what: &'static str, weakens: bool, edit: impl FnOnce(&mut Lease)) {
        let before = self.server.revision();
        self.server.edit("default", NAME, edit);
        if self.server.revision() > before {
            self.tell(what, weakens);
        }
    }

    fn tell(&self, what: &'static str, weakens: bool) {
        self.story.count("faults", what);
        self.story.note("admin", || what.into());
        self.story.tampered(self.server.revision(), weakens);
    }
}
