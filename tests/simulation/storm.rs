//! What happens to one node: its network fails, it stands still, it crashes.

use std::sync::Arc;
use std::time::Duration;

use kube_lease_lock::testing::{Fault, Verb};
use tokio::time::{Instant, sleep, sleep_until};

use crate::chance::Chance;
use crate::node::Node;
use crate::story::Story;

pub(crate) struct Storm {
    pub(crate) node: Arc<Node>,
    pub(crate) story: Story,
    pub(crate) chance: Chance,
    pub(crate) until: Instant,
}

impl Storm {
    pub(crate) async fn rage(mut self) {
        while self.chance.rest(200..=10_000, self.until).await {
            if self.chance.knows(2) && self.chance.one_in(24) {
                self.story.count("faults", "a task panics");
                self.story.note(&self.node.name, || "the next write panics".into());
                self.node.poison();
                continue;
            }
            match self.chance.number(0..=9) {
                0..=2 => self.some_requests_fail(),
                3..=5 => self.all_requests_fail().await,
                6 | 7 => self.watches_fail(),
                _ => self.stand_still().await,
            }
        }
    }

    fn some_requests_fail(&mut self) {
        let faults = (0..self.chance.number(1..=3)).map(|_| {
            let (name, fault) = any_fault(&mut self.chance);
            let (verbs, times) = (some_verbs(&mut self.chance), self.chance.pick(&[1, 1, 2, 3, 5]));
            self.story.count("faults", name);
            self.story.note(&self.node.name, || format!("next: {name} on {verbs:?}, {times} times"));
            fault.on_any(verbs).skip(self.chance.pick(&[0, 0, 0, 1, 2])).times(times)
        });
        self.node.disturb(faults.collect());
    }

    /// One request may fail in some other way before.
    async fn all_requests_fail(&mut self) {
        let (name, fault) = any_fault(&mut self.chance);
        let (verbs, span) = (some_verbs(&mut self.chance), self.chance.millis(100..=30_000));
        let (first, prelude) = any_fault(&mut self.chance);
        let mut faults = vec![fault.on_any(verbs)];
        if self.chance.one_in(2) {
            faults.insert(0, prelude.on_any(&[Verb::Apply, Verb::Update]).times(1));
            self.story.count("faults", first);
            self.story.note(&self.node.name, || format!("the next write: {first}"));
        }
        self.story.count("faults", name);
        self.story.note(&self.node.name, || format!("for {span:?}: {name} on {verbs:?}"));
        self.node.disturb(faults);
        self.rest(span).await;
        self.story.note(&self.node.name, || "healed".into());
        self.node.heal();
    }

    fn watches_fail(&mut self) {
        let link = &self.node.link;
        let name = match self.chance.number(0..=4) {
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
                link.inject(Fault::delay_events(self.chance.millis(1..=40_000)).times(3));
                "events delayed"
            }
            _ => {
                link.inject(Fault::drop_events().times(2));
                "events dropped"
            }
        };
        self.story.count("faults", name);
        self.story.note(&self.node.name, || name.into());
    }

    async fn stand_still(&mut self) {
        let span = self.chance.millis(50..=25_000);
        self.story.count("faults", "node frozen");
        self.story.note(&self.node.name, || format!("stands still for {span:?}"));
        self.node.freeze();
        self.rest(span).await;
        if self.chance.one_in(3) {
            // As after a suspend: the timers of the lock's tasks are late.
            self.story.note(&self.node.name, || "its users run".into());
            self.node.thaw_users();
            sleep(self.chance.millis(0..=1_000)).await;
        }
        self.story.note(&self.node.name, || "runs".into());
        self.node.thaw();
    }

    async fn rest(&self, span: Duration) {
        sleep_until(self.until.min(Instant::now() + span)).await;
    }
}

fn some_verbs(chance: &mut Chance) -> &'static [Verb] {
    use Verb::{Apply, Get, Update, Watch};
    chance.pick(&[
        &[Get, Apply, Update, Watch],
        &[Apply, Update],
        &[Apply],
        &[Update],
        &[Get],
        &[Watch],
        &[Get, Apply, Update],
    ])
}

fn any_fault(chance: &mut Chance) -> (&'static str, Fault) {
    let delay = chance.pick(&[50, 500, 3_000, 8_000, 20_000, 40_000]);
    let delay = chance.millis(1..=delay);
    match chance.number(0..=14) {
        0 => ("hang", Fault::hang()),
        1 => ("refuse", Fault::refuse()),
        2 => ("reset after the commit", Fault::reset()),
        3 => ("reply lost", Fault::lose_reply()),
        4 | 5 => ("late commit", Fault::delay_before(delay)),
        6 | 7 => ("late reply", Fault::delay_after(delay)),
        8 => ("garbage", Fault::garbage()),
        9 => ("sent twice", Fault::replay()),
        10 => ("409", Fault::status(409)),
        11 => ("429", Fault::status(429).retry_after(chance.millis(1_000..=20_000))),
        12 => a_status(chance),
        13 => ("error after the commit", Fault::commit_then_status(chance.pick(&[500, 503, 504]))),
        _ => ("403", Fault::status(403)),
    }
}

fn a_status(chance: &mut Chance) -> (&'static str, Fault) {
    let (name, code) = chance.pick(&[("500", 500), ("503", 503), ("504", 504), ("410", 410)]);
    (name, Fault::status(code))
}
