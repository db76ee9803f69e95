//! Bad weather that promises can be kept in: one request fails now and then, watches fall silent, clocks are set back.

use std::sync::Arc;

use kube_lease_lock::testing::{Fault, Verb};
use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::node::Node;
use crate::story::Story;

pub(crate) struct Drizzle {
    pub(crate) node: Arc<Node>,
    pub(crate) story: Story,
    pub(crate) chance: Chance,
    pub(crate) until: Instant,
}

impl Drizzle {
    /// At most one request fails within any `renew_deadline`.
    pub(crate) async fn fall(mut self) {
        let apart = self.node.plan.renew_deadline.mul_f64(1.3);
        while Instant::now() + apart < self.until {
            let (name, fault) = one_failure(&mut self.chance);
            let verbs = self.chance.pick::<&[Verb]>(&[
                &[Verb::Apply],
                &[Verb::Apply],
                &[Verb::Get],
                &[Verb::Get, Verb::Update],
            ]);
            self.story.count("faults", name);
            self.story.note(&self.node.name, || format!("next: {name} on {verbs:?}, once"));
            self.node.disturb(vec![fault.on_any(verbs).times(1)]);
            sleep(self.node.plan.renew_interval).await;
            self.node.heal();
            sleep(apart + self.chance.millis(0..=3_000)).await;
        }
    }

    /// The watches that are open fall silent, and stay open: those of all nodes at the same time.
    pub(crate) async fn deafen(nodes: Vec<Arc<Node>>, story: Story, mut chance: Chance) {
        for _ in 0..chance.number(1..=2) {
            sleep(chance.millis(1_000..=30_000)).await;
            for node in &nodes {
                story.count("faults", "watches muted");
                story.note(&node.name, || "watches fall silent".into());
                node.mute();
            }
        }
    }

    /// The time of day is set back now and then.
    pub(crate) async fn turn_back(mut self) {
        while self.chance.rest(500..=20_000, self.until).await {
            let span = self.chance.millis(1..=10_000);
            self.story.count("faults", "clock set back");
            self.story.note(&self.node.name, || format!("its time of day is set back by {span:?}"));
            self.node.turn_back(span);
        }
    }
}

fn one_failure(chance: &mut Chance) -> (&'static str, Fault) {
    match chance.number(0..=9) {
        0 => ("hang", Fault::hang()),
        1 => ("refuse", Fault::refuse()),
        2 => ("reset after the commit", Fault::reset()),
        3 | 4 => ("reply lost", Fault::lose_reply()),
        5 => ("garbage", Fault::garbage()),
        6 => ("late commit", Fault::delay_before(chance.millis(1..=2_000))),
        9 => ("sent twice", Fault::replay()),
        7 => ("503", Fault::status(503)),
        _ => ("error after the commit", Fault::commit_then_status(504)),
    }
}
