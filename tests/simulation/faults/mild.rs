//! Mild faults: single requests fail, watches fall silent, clocks are set back.

use std::sync::Arc;

use kube_lease_lock::testing::{Fault, Verb};
use tokio::time::{Instant, sleep};

use super::FaultInjector;
use crate::node::Node;
use crate::rng::Rng;
use crate::trace::Trace;

impl FaultInjector {
    /// At most one request fails within any `renew_deadline`.
    pub(crate) async fn rare_failures(mut self) {
        let apart = self.node.config.renew_deadline.mul_f64(1.3);
        while Instant::now() + apart < self.until {
            let (name, fault) = one_failure(&mut self.rng);
            let verbs = self.rng.pick::<&[Verb]>(&[
                &[Verb::Apply],
                &[Verb::Apply],
                &[Verb::Get],
                &[Verb::Get, Verb::Update],
            ]);
            self.trace.count("faults", name);
            self.trace.log(&self.node.name, || format!("next: {name} on {verbs:?}, once"));
            self.node.set_faults(vec![fault.on_any(verbs).times(1)]);
            sleep(self.node.config.renew_interval).await;
            self.node.heal();
            sleep(apart + self.rng.millis(0..=3_000)).await;
        }
    }

    /// Freezes the node for a moment now and then, as a limit of its CPU time does.
    pub(crate) async fn throttle(mut self) {
        while self.rng.sleep(500..=4_000, self.until).await {
            self.trace.count("faults", "node throttled");
            self.node.freeze();
            sleep(self.rng.millis(20..=100)).await;
            self.node.thaw();
        }
    }

    /// Ends its watches now and then.
    pub(crate) async fn end_watches(mut self) {
        while self.rng.sleep(10_000..=80_000, self.until).await {
            self.trace.count("faults", "watches ended");
            self.trace.log(&self.node.name, || "its watches end".into());
            self.node.end_watches();
        }
    }

    /// Sets the wall clock back now and then.
    pub(crate) async fn step_clock_back(mut self) {
        while self.rng.sleep(500..=20_000, self.until).await {
            let span = self.rng.millis(1..=10_000);
            self.trace.count("faults", "clock set back");
            self.trace.log(&self.node.name, || format!("its wall clock is set back by {span:?}"));
            self.node.step_clock_back(span);
        }
    }
}

/// Silences the open watches of all nodes at the same time. They stay open.
pub(crate) async fn silence_watches(nodes: Vec<Arc<Node>>, trace: Trace, mut rng: Rng) {
    for _ in 0..rng.number(1..=2) {
        sleep(rng.millis(1_000..=30_000)).await;
        for node in &nodes {
            trace.count("faults", "watches muted");
            trace.log(&node.name, || "watches fall silent".into());
            node.silence_watches();
        }
    }
}

fn one_failure(rng: &mut Rng) -> (&'static str, Fault) {
    match rng.number(0..=9) {
        0 => ("hang", Fault::hang()),
        1 => ("refuse", Fault::refuse()),
        2 => ("reset after the commit", Fault::reset()),
        3 | 4 => ("reply lost", Fault::lose_reply()),
        5 => ("garbage", Fault::garbage()),
        6 => ("late commit", Fault::delay_before(rng.millis(1..=2_000))),
        9 => ("sent twice", Fault::replay()),
        7 => ("503", Fault::status(503)),
        _ => ("error after the commit", Fault::commit_then_status(504)),
    }
}
