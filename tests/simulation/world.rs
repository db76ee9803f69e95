//! One world: begins, lives, is healed, and is judged.

use std::sync::Arc;
use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{LeaseServer, Machine};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::admin::Admin;
use crate::chance::{Chance, Seed};
use crate::client_go::ClientGo;
use crate::drizzle::Drizzle;
use crate::history::History;
use crate::laws;
use crate::node::{NAME, Node};
use crate::plan::{Plan, Weather};
use crate::storm::Storm;
use crate::story::{Counts, Story, Telling};
use crate::user::User;

/// What became of it.
pub(crate) struct Outcome {
    /// The laws that were broken.
    pub(crate) broken: Vec<String>,
    pub(crate) counts: Counts,
    pub(crate) lasted: Duration,
    pub(crate) lines: Vec<String>,
}

/// Lives through the world of `seed`: the same one each time.
pub(crate) fn live(seed: Seed, telling: Telling) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async { World::begin(seed, telling).run().await })
}

/// How late the last request may arrive.
const LATEST_COMMIT: Duration = Duration::from_secs(41);

/// All users have come to an end so long after the weather has.
const END: Duration = Duration::from_secs(2 * 60 * 60);

struct World {
    plan: Plan,
    server: LeaseServer,
    story: Story,
    history: History,
    nodes: Vec<Arc<Node>>,
    chance: Chance,
    begun: Instant,
}

impl World {
    fn begin(seed: Seed, telling: Telling) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::draw(&mut chance);
        let (server, story) = (LeaseServer::new(), Story::new(telling));
        let history = History::follow(&server, story.clone());
        let build = |index| Arc::new(Node::build(index, &plan, &server, &story, &mut chance));
        let nodes: Vec<_> = (0..plan.nodes.len()).map(build).collect();
        for node in &nodes {
            story.note(&node.name, || format!("{:?}", node.plan));
        }
        story.note("weather", || format!("{:?} for {:?}", plan.weather, plan.span));
        Self { plan, server, story, history, nodes, chance, begun: Instant::now() }
    }

    async fn run(mut self) -> Outcome {
        let tasks = self.populate();
        self.let_it_rage();
        let crashed = self.crash_some();
        sleep_until(self.begun + self.plan.span).await;
        self.heal(crashed);
        for (node, task) in tasks {
            if node < crashed {
                continue;
            }
            match timeout_at(self.begun + self.plan.span + END, task).await {
                // A task of the simulation that panics is a bug of the simulation.
                Ok(ended) => ended.unwrap(),
                Err(_) => self.story.broken("stuck: a task never ended".into()),
            }
        }
        self.last_one().await;
        let lasted = self.begun.elapsed();
        let states = self.history.states();
        assert_eq!(
            states.last().map(|state| state.revision),
            Some(self.server.revision()),
            "history is lost"
        );
        laws::judge(&self.plan, &self.nodes, &states, &self.story);
        let mut told = self.story.told();
        Outcome {
            broken: std::mem::take(&mut told.broken),
            counts: std::mem::take(&mut told.counts),
            lasted,
            lines: told.lines.take().unwrap_or_default(),
        }
    }

    /// Sends everybody in. Returns those who have to come to an end.
    fn populate(&mut self) -> Vec<(usize, JoinHandle<()>)> {
        let until = self.begun + self.plan.span + Duration::from_millis(1);
        let leisure = self.plan.leisure;
        let mut tasks = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for _ in 0..node.plan.tasks {
                let (node, story, chance) = (node.clone(), self.story.clone(), self.chance.fork());
                tasks.push((index, tokio::spawn(User { node, story, chance, until, leisure }.live())));
            }
        }
        for index in 0..self.plan.client_go {
            let fair = !self.plan.weather.is_stormy();
            let contender =
                ClientGo::new(index, &self.server, self.story.clone(), self.chance.fork(), until, fair);
            tasks.push((usize::MAX, tokio::spawn(contender.live())));
        }
        tasks
    }

    fn let_it_rage(&mut self) {
        let until = self.begun + self.plan.span;
        if self.plan.weather.is_stormy() {
            for node in &self.nodes {
                let (node, story, chance) = (node.clone(), self.story.clone(), self.chance.fork());
                tokio::spawn(Storm { node, story, chance, until }.rage());
            }
        }
        for node in &self.nodes {
            let mut drizzle = || {
                let (node, story, chance) = (node.clone(), self.story.clone(), self.chance.fork());
                Drizzle { node, story, chance, until }
            };
            if self.plan.weather == Weather::Drizzle {
                tokio::spawn(drizzle().fall());
            }
            if self.plan.turned_back {
                tokio::spawn(drizzle().turn_back());
            }
        }
        if let Some(rest) = self.plan.labelled {
            tokio::spawn(self.admin(until).label(rest));
        }
        if self.plan.weather == Weather::Deaf {
            let (nodes, story, chance) = (self.nodes.clone(), self.story.clone(), self.chance.fork());
            tokio::spawn(Drizzle::deafen(nodes, story, chance));
            tokio::spawn(self.admin(until).take_over());
        }
        if self.plan.weather.is_meddled() {
            tokio::spawn(self.admin(until).meddle());
        }
    }

    fn admin(&mut self, until: Instant) -> Admin {
        Admin {
            server: self.server.clone(),
            story: self.story.clone(),
            chance: self.chance.fork(),
            until,
            walls_are_trusted: self.plan.skew.is_some(),
        }
    }

    /// The first few nodes never come back. Returns how many.
    fn crash_some(&mut self) -> usize {
        let count = self.chance.pick(&[0, 0, 1, 1, 2]).min(self.nodes.len() - 1);
        let span = u64::try_from(self.plan.span.as_millis()).unwrap();
        for node in &self.nodes[..count] {
            let (node, story) = (node.clone(), self.story.clone());
            let at = self.begun + self.chance.millis(0..=span);
            tokio::spawn(async move {
                sleep_until(at).await;
                story.count("faults", "node crashed");
                story.note(&node.name, || "crashes".into());
                node.crash();
            });
        }
        count
    }

    fn heal(&self, crashed: usize) {
        self.story.note("weather", || "all is healed".into());
        for node in &self.nodes[crashed..] {
            node.heal();
            node.thaw();
        }
    }

    /// Whatever happened, a newcomer gets the Lease in the end.
    async fn last_one(&mut self) {
        let lock = LeaseLock::builder(self.server.connect().client(), NAME)
            .identity("newcomer")
            .machine(&Machine::new())
            .rng_seed(self.chance.u64())
            .build();
        // Commits that are still under way may each begin the wait anew.
        let longest = self.nodes.iter().map(|node| node.plan.lease_duration).max().unwrap_or_default();
        let patience = LATEST_COMMIT + longest + Duration::from_secs(2);
        let acquired = timeout(patience, lock.unwrap().acquire()).await;
        match acquired {
            Err(_) => self.story.broken(format!("stuck: a newcomer waited for {patience:?} in vain")),
            Ok(Err(error)) => self.story.broken(format!("refused: a newcomer was not let in: {error}")),
            Ok(Ok(guard)) => drop(guard.release().await),
        }
        // Lets the historian take note.
        sleep(Duration::from_millis(1)).await;
    }
}
