//! Severe faults, which can cost a hold: requests and watches fail, machines freeze, tasks panic.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, Verb};
use tokio::time::{Instant, sleep, sleep_until};

use super::FaultInjector;
use crate::rng::Rng;

impl FaultInjector {
    pub(crate) async fn severe(mut self) {
        while self.rng.sleep(200..=10_000, self.until).await {
            if self.rng.includes(2) && self.rng.one_in(24) {
                self.trace.count("faults", "a task panics");
                self.trace.log(&self.node.name, || "the next write panics".into());
                self.node.make_next_write_panic();
                continue;
            }
            match self.rng.number(0..=9) {
                0..=2 => self.some_requests_fail(),
                3..=5 => self.all_requests_fail().await,
                6 | 7 => self.watches_fail(),
                _ => self.freeze_node().await,
            }
        }
    }

    fn some_requests_fail(&mut self) {
        let faults = (0..self.rng.number(1..=3)).map(|_| {
            let (name, fault) = any_fault(&mut self.rng);
            let (verbs, times) = (some_verbs(&mut self.rng), self.rng.pick(&[1, 1, 2, 3, 5]));
            self.trace.count("faults", name);
            self.trace.log(&self.node.name, || format!("next: {name} on {verbs:?}, {times} times"));
            fault.on_any(verbs).skip(self.rng.pick(&[0, 0, 0, 1, 2])).times(times)
        });
        self.node.set_faults(faults.collect());
    }

    /// Before that, one write may fail in another way.
    async fn all_requests_fail(&mut self) {
        let (name, fault) = any_fault(&mut self.rng);
        let (verbs, span) = (some_verbs(&mut self.rng), self.rng.millis(100..=30_000));
        let (first, prelude) = any_fault(&mut self.rng);
        let mut faults = vec![fault.on_any(verbs)];
        if self.rng.one_in(2) {
            faults.insert(0, prelude.on_any(&[Verb::Apply, Verb::Update]).times(1));
            self.trace.count("faults", first);
            self.trace.log(&self.node.name, || format!("the next write: {first}"));
        }
        self.trace.count("faults", name);
        self.trace.log(&self.node.name, || format!("for {span:?}: {name} on {verbs:?}"));
        self.node.set_faults(faults);
        self.sleep_for(span).await;
        self.trace.log(&self.node.name, || "healed".into());
        self.node.heal();
    }

    fn watches_fail(&mut self) {
        let link = &self.node.link;
        let name = match self.rng.number(0..=4) {
            0 => {
                link.mute_watches();
                "watches muted"
            }
            1 => {
                link.end_watches();
                "watches ended"
            }
            2 => {
                link.reset_watches();
                "watches reset"
            }
            3 => {
                link.inject(Fault::delay_events(self.rng.millis(1..=40_000)).times(3));
                "events delayed"
            }
            _ => {
                link.inject(Fault::drop_events().times(2));
                "events dropped"
            }
        };
        self.trace.count("faults", name);
        self.trace.log(&self.node.name, || name.into());
    }

    async fn freeze_node(&mut self) {
        let span = self.rng.millis(50..=25_000);
        self.trace.count("faults", "node frozen");
        self.trace.log(&self.node.name, || format!("frozen for {span:?}"));
        self.node.freeze();
        self.sleep_for(span).await;
        if self.rng.one_in(3) {
            // As after a suspend, the timers of the lock's tasks are late.
            self.trace.log(&self.node.name, || "its workload is thawed".into());
            self.node.thaw_workload();
            sleep(self.rng.millis(0..=1_000)).await;
        }
        self.trace.log(&self.node.name, || "thawed".into());
        self.node.thaw();
    }

    async fn sleep_for(&self, span: Duration) {
        sleep_until(self.until.min(Instant::now() + span)).await;
    }
}

fn some_verbs(rng: &mut Rng) -> &'static [Verb] {
    use Verb::{Apply, Get, Update, Watch};
    rng.pick(&[
        &[Get, Apply, Update, Watch],
        &[Apply, Update],
        &[Apply],
        &[Update],
        &[Get],
        &[Watch],
        &[Get, Apply, Update],
    ])
}

fn any_fault(rng: &mut Rng) -> (&'static str, Fault) {
    let delay = rng.pick(&[50, 500, 3_000, 8_000, 20_000, 40_000]);
    let delay = rng.millis(1..=delay);
    match rng.number(0..=if rng.includes(5) { 15 } else { 14 }) {
        0 => ("hang", Fault::hang()),
        1 => ("refuse", Fault::refuse()),
        2 => ("reset after the commit", Fault::reset()),
        3 => ("reply lost", Fault::lose_reply()),
        4 | 5 => ("late commit", Fault::delay_before(delay)),
        6 | 7 => ("late reply", Fault::delay_after(delay)),
        8 => ("garbage", Fault::garbage()),
        9 => ("sent twice", Fault::replay()),
        10 => ("409", Fault::status(409)),
        11 => ("429", Fault::status(429).retry_after(rng.millis(1_000..=20_000))),
        12 => server_error(rng),
        15 => ("slow", Fault::slow(delay)),
        13 => ("error after the commit", Fault::commit_then_status(rng.pick(&[500, 503, 504]))),
        _ => ("403", Fault::status(403)),
    }
}

fn server_error(rng: &mut Rng) -> (&'static str, Fault) {
    let (name, code) = rng.pick(&[("500", 500), ("503", 503), ("504", 504), ("410", 410)]);
    (name, Fault::status(code))
}
