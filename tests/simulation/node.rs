//! One machine: its network, its clock, the one lock on it, and the tasks that use it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{Fault, LeaseServer, Link, Machine, Verb};
use tokio::time::Instant;

use crate::chance::Chance;
use crate::meter::metered;
use crate::plan::{NodePlan, Plan};
use crate::story::Story;

pub(crate) const NAME: &str = "a-lock";

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) plan: NodePlan,
    pub(crate) link: Link,
    pub(crate) lock: LeaseLock,
    /// What the lock runs on.
    machine: Machine,
    /// The same machine, as far as it runs the tasks that use the lock: after a suspend they may be first.
    pub(crate) users: Machine,
    /// From when to when the lock's tasks stood still; `None`: to this day.
    frozen: Mutex<Vec<(Instant, Option<Instant>)>>,
    crashed: AtomicBool,
    /// The next write panics.
    poisoned: Arc<AtomicBool>,
    /// Whether some task of the lock may have panicked.
    pub(crate) ailing: AtomicBool,
    /// When its watches fell silent.
    mutes: Mutex<Vec<Instant>>,
}

impl Node {
    pub(crate) fn build(
        index: usize,
        world: &Plan,
        server: &LeaseServer,
        story: &Story,
        chance: &mut Chance,
    ) -> Self {
        let plan = world.nodes[index].clone();
        let name = format!("node-{index}");
        let link = server.connect();
        let machine = Machine::new().rate(plan.rate).wall(plan.wall);
        let identity = if world.namesakes { "node".to_owned() } else { name.clone() };
        let poisoned = Arc::new(AtomicBool::new(false));
        let mut builder = LeaseLock::builder(metered(link.client(), &name, story, poisoned.clone()), NAME)
            .identity(&identity)
            .lease_duration(plan.lease_duration)
            .renew_deadline(plan.renew_deadline)
            .renew_interval(plan.renew_interval)
            .machine(&machine)
            .rng_seed(chance.u64());
        if let Some(skew) = world.skew {
            builder = builder.max_clock_skew(skew);
        }
        let lock = builder.build().unwrap();
        let node = Self {
            name,
            plan,
            link,
            lock,
            machine,
            users: Machine::new(),
            frozen: Mutex::default(),
            crashed: AtomicBool::new(false),
            poisoned,
            ailing: AtomicBool::new(false),
            mutes: Mutex::default(),
        };
        node.heal();
        node
    }

    /// Faults happen to this node's requests, in place of those before.
    pub(crate) fn disturb(&self, faults: Vec<Fault>) {
        self.link.heal();
        if self.plan.blind {
            self.link.inject(Fault::status(403).on(Verb::Watch));
        }
        for fault in faults {
            self.link.inject(fault);
        }
        if !self.plan.latency.is_zero() {
            self.link.inject(Fault::delay_after(self.plan.latency));
        }
    }

    pub(crate) fn heal(&self) {
        self.disturb(Vec::new());
    }

    /// The task that makes the next write panics.
    pub(crate) fn poison(&self) {
        self.ailing.store(true, Ordering::Relaxed);
        self.poisoned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn turn_back(&self, span: Duration) {
        self.machine.step_back(span);
    }

    pub(crate) fn mute(&self) {
        self.link.mute_watches();
        self.mutes.lock().unwrap().push(Instant::now());
    }

    /// When its watches last fell silent, before `at`.
    pub(crate) fn last_mute(&self, at: Instant) -> Option<Instant> {
        self.mutes().into_iter().rfind(|mute| *mute <= at)
    }

    pub(crate) fn mutes(&self) -> Vec<Instant> {
        self.mutes.lock().unwrap().clone()
    }

    /// Whether its lock's tasks ever stood still.
    pub(crate) fn has_stood_still(&self) -> bool {
        !self.frozen.lock().unwrap().is_empty()
    }

    pub(crate) fn freeze(&self) {
        self.users.freeze();
        self.machine.freeze();
        self.frozen.lock().unwrap().push((Instant::now(), None));
    }

    /// Stands still for good.
    pub(crate) fn crash(&self) {
        self.crashed.store(true, Ordering::Relaxed);
        self.freeze();
    }

    pub(crate) fn thaw_users(&self) {
        if !self.crashed.load(Ordering::Relaxed) {
            self.users.thaw();
        }
    }

    pub(crate) fn thaw(&self) {
        if self.crashed.load(Ordering::Relaxed) {
            return;
        }
        self.users.thaw();
        self.machine.thaw();
        if let Some(last) = self.frozen.lock().unwrap().last_mut() {
            last.1.get_or_insert(Instant::now());
        }
    }

    pub(crate) fn stands_still(&self) -> bool {
        self.frozen.lock().unwrap().last().is_some_and(|(_, thawed)| thawed.is_none())
    }

    /// The first moment from `due` on at which the lock's tasks ran; `None`: never again.
    pub(crate) fn awake_from(&self, due: Instant) -> Option<Instant> {
        let frozen = self.frozen.lock().unwrap();
        let over = |(from, to): &(Instant, Option<Instant>)| *from <= due && to.is_none_or(|to| due <= to);
        match frozen.iter().find(|span| over(span)) {
            Some((_, thawed)) => *thawed,
            None => Some(due),
        }
    }
}
