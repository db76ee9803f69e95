//! All that can happen, at random and at once, for as long as one likes.
//!
//! The seed settles what strikes when. What that leads to is up to the machine, so a failure may not come again: its
//! journal is kept.

use std::collections::BTreeMap;
use std::env;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use crate::administrator::role;
use crate::contender::Contender;
use crate::journal::Journal;
use crate::manner::Manner;
use crate::support::{ControlPlane, Verdict, now};
use crate::world::World;
use crate::{breakdowns, crashes, disturbances};

pub(crate) const CONTENDERS: usize = 5;
const SHORT: Duration = Duration::from_secs(15);

/// `ROBUSTNESS_MINUTES=60 cargo test --release --test robustness storm -- --include-ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server"]
async fn nothing_that_happens_lets_two_contenders_hold_the_lock() {
    let length = variable("ROBUSTNESS_MINUTES").map_or(SHORT, |minutes: f64| {
        Duration::try_from_secs_f64(minutes * 60.0).expect("a number of minutes")
    });
    let seed = variable("ROBUSTNESS_SEED").unwrap_or_else(|| fastrand::u64(..=999_999));
    let plane = ControlPlane::start_with_separate_etcd().await;
    let world = World::seeded("storm", &plane, seed).await;
    world.journal.note("storm", format!("ROBUSTNESS_SEED={seed}, {length:?}"));
    let mut contenders = contenders(&world).await;

    let storm = Storm::new(Arc::clone(&world.journal), length);
    let began = Instant::now();
    let links: Vec<_> = contenders.iter().map(|it| (it.name().to_owned(), Arc::clone(&it.link))).collect();
    let mut rng = fastrand::Rng::with_seed(seed);
    tokio::join!(
        disturbances::disturb(&storm, rng.fork(), &links),
        crashes::crash(&storm, rng.fork(), &mut contenders, &world.register),
        breakdowns::break_down(&storm, rng.fork(), &world),
    );
    let raged = began.elapsed();
    everyone_gets_a_turn(&world, &mut contenders).await;

    let verdict = world.register.verdict();
    let summary = Summary { seed, raged, storm: &storm, verdict: &verdict };
    println!("{summary}");
    world.journal.note("storm", &summary);
    verdict.holds.iter().for_each(|hold| world.journal.note("hold", hold));
    assert!(verdict.is_clean(), "ROBUSTNESS_SEED={seed}: {verdict}");
    // A third of the long stops falls between a check and a write of a holder that can be succeeded.
    let long_stops = storm.count(crashes::LONG_STOP);
    assert!(verdict.stale > 0 || long_stops < 25, "not one write came too late in {long_stops} long stops");
}

/// Most take short turns, one keeps the lock for several renewals; their leases differ, and their clients.
async fn contenders(world: &World<'_>) -> Vec<Contender> {
    let mut contenders = Vec::new();
    for number in 0..CONTENDERS {
        let name = format!("contender-{number}");
        world.plane.grant(&world.namespace, &name, &role(&name)).await;
        let manner = if number == 0 { Manner { rounds: 40..=120, ..Manner::SHARER } } else { Manner::SHARER };
        let manner = Manner { lock_client: number % 2 == 0, ..manner };
        let manner = manner.lease(if number < 3 { 3 } else { 4 });
        contenders.push(world.contender_as(&name, manner).await);
    }
    contenders
}

/// When it is over, nobody is left out and nothing is stuck.
async fn everyone_gets_a_turn(world: &World<'_>, contenders: &mut [Contender]) {
    world.journal.note("storm", "is over");
    let over = now();
    join_all(contenders.iter().map(|contender| contender.said("acquired", over))).await;
    contenders.iter_mut().for_each(Contender::assert_alive);
}

/// A stretch of time in which things happen.
pub(crate) struct Storm {
    journal: Arc<Journal>,
    end: Instant,
    strikes: Mutex<BTreeMap<&'static str, u64>>,
}

impl Storm {
    fn new(journal: Arc<Journal>, length: Duration) -> Self {
        Self { journal, end: Instant::now() + length, strikes: Mutex::default() }
    }

    pub(crate) fn rages(&self) -> bool {
        Instant::now() < self.end
    }

    /// Counts and notes what happens now.
    pub(crate) fn strikes(&self, what: &'static str, whom: &str) {
        self.journal.note(what, whom);
        *self.strikes.lock().unwrap().entry(what).or_default() += 1;
    }

    /// A random time, in milliseconds, cut off at the end of the storm.
    pub(crate) async fn wait(&self, rng: &mut fastrand::Rng, millis: RangeInclusive<u64>) {
        let left = self.end.saturating_duration_since(Instant::now());
        sleep(Duration::from_millis(rng.u64(millis)).min(left)).await;
    }

    fn count(&self, what: &str) -> u64 {
        self.strikes.lock().unwrap().get(what).copied().unwrap_or_default()
    }
}

struct Summary<'a> {
    seed: u64,
    raged: Duration,
    storm: &'a Storm,
    verdict: &'a Verdict,
}

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ROBUSTNESS_SEED={}", self.seed)?;
        writeln!(f, "{:<37}{:.1}", "minutes", self.raged.as_secs_f64() / 60.0)?;
        write!(f, "{}", self.verdict)?;
        let strikes = self.storm.strikes.lock().unwrap();
        writeln!(f, "{:<37}{}", "faults", strikes.values().sum::<u64>())?;
        strikes.iter().try_for_each(|(what, times)| writeln!(f, "  {what:<35}{times}"))
    }
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, not a number")))
}
