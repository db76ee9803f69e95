//! One machine: its network, its clock, its one lock, and the tasks that use the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{Fault, LeaseServer, Link, Machine, Verb};
use tokio::time::Instant;

use crate::meter::metered;
use crate::rng::Rng;
use crate::scenario::{NodeConfig, Scenario};
use crate::trace::Trace;

pub(crate) const LEASE_NAME: &str = "a-lock";

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) config: NodeConfig,
    pub(crate) link: Link,
    pub(crate) lock: LeaseLock,
    /// Runs the tasks of the lock.
    machine: Machine,
    /// Runs the tasks that use the lock. It is the same machine, but after a suspend these tasks can run first.
    pub(crate) workload_machine: Machine,
    /// The times in which the lock's tasks were frozen. The end is `None` if they still are.
    frozen: Mutex<Vec<(Instant, Option<Instant>)>>,
    crashed: AtomicBool,
    /// Whether the next write panics.
    panic_next_write: Arc<AtomicBool>,
    /// Whether a task of the lock may have panicked.
    pub(crate) may_have_panicked: AtomicBool,
    /// When its watches fell silent.
    watch_silences: Mutex<Vec<Instant>>,
    /// When its watches ended.
    watch_ends: Mutex<Vec<Instant>>,
}

impl Node {
    pub(crate) fn build(
        index: usize,
        scenario: &Scenario,
        server: &LeaseServer,
        trace: &Trace,
        rng: &mut Rng,
    ) -> Self {
        let config = scenario.nodes[index].clone();
        let name = format!("node-{index}");
        let link = server.connect();
        if !config.distance.is_zero() {
            link.set_distance(config.distance);
            link.set_jitter(rng.u64());
        }
        let machine = Machine::new().rate(config.rate).wall(config.wall);
        let identity = if scenario.shared_name { "node".to_owned() } else { name.clone() };
        let panic_next_write = Arc::new(AtomicBool::new(false));
        let mut builder =
            LeaseLock::builder(metered(link.client(), &name, trace, panic_next_write.clone()), LEASE_NAME)
                .identity(&identity)
                .lease_duration(config.lease_duration)
                .renew_deadline(config.renew_deadline)
                .renew_interval(config.renew_interval)
                .machine(&machine)
                .rng_seed(rng.u64());
        if let Some(skew) = scenario.max_clock_skew {
            builder = builder.max_clock_skew(skew);
        }
        let lock = builder.build().unwrap();
        let node = Self {
            name,
            config,
            link,
            lock,
            machine,
            workload_machine: Machine::new(),
            frozen: Mutex::default(),
            crashed: AtomicBool::new(false),
            panic_next_write,
            may_have_panicked: AtomicBool::new(false),
            watch_silences: Mutex::default(),
            watch_ends: Mutex::default(),
        };
        node.heal();
        node
    }

    /// Replaces the faults of this node's requests.
    pub(crate) fn set_faults(&self, faults: Vec<Fault>) {
        self.link.heal();
        if self.config.watch_forbidden {
            self.link.inject(Fault::status(403).on(Verb::Watch));
        }
        for fault in faults {
            self.link.inject(fault);
        }
        if !self.config.write_time.is_zero() {
            let slow = Fault::slow(self.config.write_time);
            self.link.inject(slow.on_any(&[Verb::Apply, Verb::Update]));
        }
        if !self.config.latency.is_zero() {
            self.link.inject(Fault::delay_after(self.config.latency));
        }
        if !self.config.event_lag.is_zero() {
            self.link.inject(Fault::delay_events(self.config.event_lag));
        }
    }

    pub(crate) fn heal(&self) {
        self.set_faults(Vec::new());
    }

    /// Makes the task panic that sends the next write.
    pub(crate) fn make_next_write_panic(&self) {
        self.may_have_panicked.store(true, Ordering::Relaxed);
        self.panic_next_write.store(true, Ordering::Relaxed);
    }

    pub(crate) fn step_clock_back(&self, span: Duration) {
        self.machine.step_back(span);
    }

    pub(crate) fn silence_watches(&self) {
        self.link.mute_watches();
        self.watch_silences.lock().unwrap().push(Instant::now());
    }

    /// When its watches last fell silent before `at`.
    pub(crate) fn last_watch_silence(&self, at: Instant) -> Option<Instant> {
        self.watch_silences().into_iter().rfind(|mute| *mute <= at)
    }

    pub(crate) fn watch_silences(&self) -> Vec<Instant> {
        self.watch_silences.lock().unwrap().clone()
    }

    pub(crate) fn end_watches(&self) {
        self.link.end_watches();
        self.watch_ends.lock().unwrap().push(Instant::now());
    }

    pub(crate) fn watch_ends(&self) -> Vec<Instant> {
        self.watch_ends.lock().unwrap().clone()
    }

    /// Whether its lock's tasks were ever frozen.
    pub(crate) fn was_frozen(&self) -> bool {
        !self.frozen.lock().unwrap().is_empty()
    }

    pub(crate) fn freeze(&self) {
        self.workload_machine.freeze();
        self.machine.freeze();
        self.frozen.lock().unwrap().push((Instant::now(), None));
    }

    /// Freezes it for good.
    pub(crate) fn crash(&self) {
        self.crashed.store(true, Ordering::Relaxed);
        self.freeze();
    }

    pub(crate) fn is_crashed(&self) -> bool {
        self.crashed.load(Ordering::Relaxed)
    }

    pub(crate) fn thaw_workload(&self) {
        if !self.crashed.load(Ordering::Relaxed) {
            self.workload_machine.thaw();
        }
    }

    pub(crate) fn thaw(&self) {
        if self.crashed.load(Ordering::Relaxed) {
            return;
        }
        self.workload_machine.thaw();
        self.machine.thaw();
        if let Some(last) = self.frozen.lock().unwrap().last_mut() {
            last.1.get_or_insert(Instant::now());
        }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.lock().unwrap().last().is_some_and(|(_, thawed)| thawed.is_none())
    }

    /// The first moment from `due` on at which the lock's tasks ran; `None` if they never ran again.
    pub(crate) fn first_awake_from(&self, due: Instant) -> Option<Instant> {
        let frozen = self.frozen.lock().unwrap();
        let over = |(from, to): &(Instant, Option<Instant>)| *from <= due && to.is_none_or(|to| due <= to);
        match frozen.iter().find(|span| over(span)) {
            Some((_, thawed)) => *thawed,
            None => Some(due),
        }
    }
}
