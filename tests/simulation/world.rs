//! One world: it starts, runs, is healed, and its trace is checked.

use std::sync::Arc;
use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{LeaseServer, Machine};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::client_go::ClientGo;
use crate::faults::{Admin, FaultInjector, silence_watches};
use crate::history::History;
use crate::invariants;
use crate::node::{LEASE_NAME, Node};
use crate::rng::{Rng, Seed};
use crate::scenario::{FaultProfile, Scenario, Usage};
use crate::trace::{Counts, Trace, TraceMode};
use crate::workload::Workload;

/// The result of one world.
pub(crate) struct Outcome {
    /// The invariants that were violated, and how.
    pub(crate) violations: Vec<String>,
    pub(crate) counts: Counts,
    pub(crate) virtual_time: Duration,
    pub(crate) lines: Vec<String>,
}

/// Runs the world of `seed`, which is the same each time.
pub(crate) fn run(seed: Seed, mode: TraceMode) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async { World::new(seed, mode).run().await })
}

/// The longest delay until the server makes a write.
const MAX_COMMIT_DELAY: Duration = Duration::from_secs(41);

/// The longest that a task takes to end after the faults have ended.
const MAX_TIME_TO_END: Duration = Duration::from_secs(2 * 60 * 60);

/// Contention is decided after so many holds.
const HOLDS_PER_NODE: usize = 10;
const MIN_HOLDS: usize = 100;
/// The shortest that nodes contend.
const MIN_CONTENTION: Duration = Duration::from_secs(12);

struct World {
    scenario: Scenario,
    server: LeaseServer,
    trace: Trace,
    history: History,
    nodes: Vec<Arc<Node>>,
    rng: Rng,
    started: Instant,
}

impl World {
    fn new(seed: Seed, mode: TraceMode) -> Self {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::draw(&mut rng);
        let (server, trace) = (LeaseServer::new(), Trace::new(mode));
        let history = History::follow(&server, trace.clone());
        let build = |index| Arc::new(Node::build(index, &scenario, &server, &trace, &mut rng));
        let nodes: Vec<_> = (0..scenario.nodes.len()).map(build).collect();
        for node in &nodes {
            trace.log(&node.name, || format!("{:?}", node.config));
        }
        trace.log("faults", || format!("{:?} for {:?}", scenario.profile, scenario.fault_period));
        Self { scenario, server, trace, history, nodes, rng, started: Instant::now() }
    }

    async fn run(mut self) -> Outcome {
        let tasks = self.start_workloads();
        self.start_faults();
        let crashed = self.schedule_crashes();
        sleep_until(self.started + self.scenario.fault_period).await;
        self.heal(crashed);
        for (node, task) in tasks {
            if node < crashed || self.nodes.get(node).is_some_and(|node| node.is_crashed()) {
                continue;
            }
            match timeout_at(self.started + self.scenario.fault_period + MAX_TIME_TO_END, task).await {
                // A panic in a task of the simulation is a bug of the simulation.
                Ok(ended) => ended.unwrap(),
                Err(_) => self.trace.violation("progress: a task never ended".into()),
            }
        }
        self.check_a_newcomer_acquires().await;
        let virtual_time = self.started.elapsed();
        let states = self.history.states();
        assert_eq!(
            states.last().map(|state| state.revision),
            Some(self.server.revision()),
            "the history is incomplete"
        );
        invariants::check(&self.scenario, &self.nodes, &states, &self.trace);
        let mut trace = self.trace.data();
        Outcome {
            violations: std::mem::take(&mut trace.violations),
            counts: std::mem::take(&mut trace.counts),
            virtual_time,
            lines: trace.lines.take().unwrap_or_default(),
        }
    }

    /// Starts all tasks that use the lock. Returns those tasks that have to end.
    fn start_workloads(&mut self) -> Vec<(usize, JoinHandle<()>)> {
        let until = self.started + self.scenario.fault_period + Duration::from_millis(1);
        let Scenario { max_idle_ms, usage, once_in, .. } = self.scenario;
        let max_holds = (HOLDS_PER_NODE * self.nodes.len()).max(MIN_HOLDS);
        let not_before = self.started + MIN_CONTENTION;
        let round = self.scenario.round();
        let mut tasks = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for _ in 0..node.config.tasks {
                let (node, trace, rng) = (node.clone(), self.trace.clone(), self.rng.fork());
                let workload = Workload {
                    node,
                    trace,
                    rng,
                    until,
                    max_idle_ms,
                    usage,
                    once_in,
                    max_holds,
                    not_before,
                    round,
                };
                tasks.push((index, tokio::spawn(workload.run())));
            }
        }
        for index in 0..self.scenario.client_go {
            let reliable = !self.scenario.profile.is_severe();
            let contender =
                ClientGo::new(index, &self.server, self.trace.clone(), self.rng.fork(), until, reliable);
            tasks.push((usize::MAX, tokio::spawn(contender.run())));
        }
        tasks
    }

    fn start_faults(&mut self) {
        let until = self.started + self.scenario.fault_period;
        if self.scenario.profile.is_severe() {
            for node in &self.nodes {
                let (node, trace, rng) = (node.clone(), self.trace.clone(), self.rng.fork());
                tokio::spawn(FaultInjector { node, trace, rng, until }.severe());
            }
        }
        for node in &self.nodes {
            let mut injector = || {
                let (node, trace, rng) = (node.clone(), self.trace.clone(), self.rng.fork());
                FaultInjector { node, trace, rng, until }
            };
            if self.scenario.profile == FaultProfile::RareFailures {
                tokio::spawn(injector().rare_failures());
            }
            if node.config.is_throttled {
                tokio::spawn(injector().throttle());
            }
            if self.scenario.profile == FaultProfile::QueueEdits {
                tokio::spawn(injector().end_watches());
            }
            if self.scenario.clock_steps {
                tokio::spawn(injector().step_clock_back());
            }
        }
        if let Some(rest) = self.scenario.max_label_interval_ms {
            tokio::spawn(self.admin(until).label_repeatedly(rest));
        }
        if self.scenario.profile == FaultProfile::SilentWatches {
            let (nodes, trace, rng) = (self.nodes.clone(), self.trace.clone(), self.rng.fork());
            tokio::spawn(silence_watches(nodes, trace, rng));
            tokio::spawn(self.admin(until).overwrite_repeatedly());
        }
        if self.scenario.profile == FaultProfile::QueueEdits {
            tokio::spawn(self.admin(until).edit_queue_repeatedly());
        }
        if self.scenario.profile == FaultProfile::CrashInCrowd {
            self.schedule_crash_of_the_holder();
        }
        if self.scenario.profile.has_lease_edits() {
            tokio::spawn(self.admin(until).edit_repeatedly());
        }
    }

    fn admin(&mut self, until: Instant) -> Admin {
        Admin {
            server: self.server.clone(),
            trace: self.trace.clone(),
            rng: self.rng.fork(),
            until,
            wall_clocks_trusted: self.scenario.max_clock_skew.is_some(),
        }
    }

    fn schedule_crash_of_the_holder(&mut self) {
        let (server, nodes, trace) = (self.server.clone(), self.nodes.clone(), self.trace.clone());
        let at = self.started + self.rng.millis(15_000..=35_000);
        tokio::spawn(async move {
            sleep_until(at).await;
            let spec = server.lease("default", LEASE_NAME).and_then(|lease| lease.spec);
            let holder = spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
            let held_by = |node: &&Arc<Node>| {
                node.link.requests().iter().any(|r| r.body["spec"]["holderIdentity"] == *holder)
            };
            if let Some(node) = nodes.iter().find(held_by) {
                trace.count("faults", "holder crashed");
                trace.log(&node.name, || "crashes".into());
                node.crash();
            }
        });
    }

    /// The first few nodes crash for good. Returns how many.
    fn schedule_crashes(&mut self) -> usize {
        if self.scenario.usage != Usage::Random {
            return 0;
        }
        let count = self.rng.pick(&[0, 0, 1, 1, 2]).min(self.nodes.len() - 1);
        let span = u64::try_from(self.scenario.fault_period.as_millis()).unwrap();
        for node in &self.nodes[..count] {
            let (node, trace) = (node.clone(), self.trace.clone());
            let at = self.started + self.rng.millis(0..=span);
            tokio::spawn(async move {
                sleep_until(at).await;
                trace.count("faults", "node crashed");
                trace.log(&node.name, || "crashes".into());
                node.crash();
            });
        }
        count
    }

    fn heal(&self, crashed: usize) {
        self.trace.log("faults", || "all is healed".into());
        for node in &self.nodes[crashed..] {
            node.heal();
            node.thaw();
        }
    }

    /// In the end a new contender acquires the Lease, whatever happened before.
    async fn check_a_newcomer_acquires(&mut self) {
        let lock = LeaseLock::builder(self.server.connect().client(), LEASE_NAME)
            .identity("newcomer")
            .machine(&Machine::new())
            .rng_seed(self.rng.u64())
            .build();
        // Each write that is still in flight can start the wait again.
        let longest = self.nodes.iter().map(|node| node.config.lease_duration).max().unwrap_or_default();
        let limit = MAX_COMMIT_DELAY + longest + Duration::from_secs(2);
        let acquired = timeout(limit, lock.unwrap().acquire()).await;
        match acquired {
            Err(_) => self.trace.violation(format!("progress: a newcomer did not acquire within {limit:?}")),
            Ok(Err(error)) => {
                self.trace.violation(format!("no_unexpected_error: a newcomer could not acquire: {error}"));
            }
            Ok(Ok(guard)) => drop(guard.release().await),
        }
        // Lets the history record the release.
        sleep(Duration::from_millis(1)).await;
    }
}
