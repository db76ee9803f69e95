//! All kinds of faults, at random and at the same time, for as long as one likes.
//!
//! The seed decides which fault the nemesis injects when. The consequences depend on the machine, so a failure may not
//! come again with the same seed. That is why the event log of a failed run is kept.

use std::env;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use crate::administrator::role;
use crate::behaviour::Behaviour;
use crate::contender::Contender;
use crate::fixture::Fixture;
use crate::nemesis::{self, Nemesis};
use crate::support::{ControlPlane, Verdict, now};

const CONTENDERS: usize = 5;
const DEFAULT_DURATION: Duration = Duration::from_secs(15);

/// After this many long stops at least one write must have come too late: about a third of the long stops stop a holder
/// between its check and its write for so long that another contender takes over.
const LONG_STOPS_WITH_STALE_WRITE: u64 = 25;

/// `ROBUSTNESS_MINUTES=60 cargo test --release --test robustness random_faults -- --include-ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server"]
async fn no_fault_lets_two_contenders_hold_the_lock() {
    let duration = variable("ROBUSTNESS_MINUTES").map_or(DEFAULT_DURATION, |minutes: f64| {
        Duration::try_from_secs_f64(minutes * 60.0).expect("a number of minutes")
    });
    let seed = variable("ROBUSTNESS_SEED").unwrap_or_else(|| fastrand::u64(..=999_999));
    let plane = ControlPlane::start_with_separate_etcd().await;
    let fixture = Fixture::seeded("random-faults", &plane, seed).await;
    fixture.event_log.record("nemesis", format!("ROBUSTNESS_SEED={seed}, {duration:?}"));
    let mut contenders = contenders(&fixture).await;

    let nemesis = Nemesis::new(Arc::clone(&fixture.event_log), duration);
    let start = Instant::now();
    let links: Vec<_> = contenders.iter().map(|it| (it.name().to_owned(), Arc::clone(&it.link))).collect();
    let users: Vec<_> = contenders.iter().map(|it| it.name().to_owned()).collect();
    let mut rng = fastrand::Rng::with_seed(seed);
    tokio::join!(
        nemesis::network::inject(&nemesis, rng.fork(), &links),
        nemesis::processes::inject(&nemesis, rng.fork(), &mut contenders, &fixture.register),
        nemesis::control_plane::inject(&nemesis, rng.fork(), &fixture, &users),
    );
    let elapsed = start.elapsed();
    wait_until_each_has_acquired(&fixture, &mut contenders).await;

    let verdict = fixture.register.verdict();
    let summary = Summary { seed, elapsed, nemesis: &nemesis, verdict: &verdict };
    println!("{summary}");
    fixture.event_log.record("nemesis", &summary);
    verdict.holds.iter().for_each(|hold| fixture.event_log.record("hold", hold));
    assert!(verdict.is_clean(), "ROBUSTNESS_SEED={seed}: {verdict}");
    let long_stops = nemesis.count(nemesis::processes::LONG_STOP);
    assert!(
        verdict.stale > 0 || long_stops < LONG_STOPS_WITH_STALE_WRITE,
        "not one write came too late in {long_stops} long stops"
    );
}

/// Most of them hold the lock for a short time; one keeps it for several renewals. They differ in their leases and in
/// their clients.
async fn contenders(fixture: &Fixture<'_>) -> Vec<Contender> {
    let mut contenders = Vec::new();
    for number in 0..CONTENDERS {
        let name = format!("contender-{number}");
        fixture.plane.grant(&fixture.namespace, &name, &role(&name)).await;
        let behaviour = if number == 0 {
            Behaviour { rounds: 40..=120, ..Behaviour::TAKE_TURNS }
        } else {
            Behaviour::TAKE_TURNS
        };
        let behaviour = Behaviour { lock_client: number % 2 == 0, ..behaviour };
        let behaviour = behaviour.lease_seconds(if number < 3 { 3 } else { 4 });
        contenders.push(fixture.contender_as(&name, behaviour).await);
    }
    contenders
}

/// After the last fault every contender acquires the lock again: no contender starves, and none is stuck.
async fn wait_until_each_has_acquired(fixture: &Fixture<'_>, contenders: &mut [Contender]) {
    fixture.event_log.record("nemesis", "is over");
    let over = now();
    join_all(contenders.iter().map(|contender| contender.wait_for("acquired", over))).await;
    contenders.iter_mut().for_each(Contender::assert_alive);
}

struct Summary<'a> {
    seed: u64,
    elapsed: Duration,
    nemesis: &'a Nemesis,
    verdict: &'a Verdict,
}

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ROBUSTNESS_SEED={}", self.seed)?;
        writeln!(f, "{:<37}{:.1}", "minutes", self.elapsed.as_secs_f64() / 60.0)?;
        write!(f, "{}", self.verdict)?;
        let counts = self.nemesis.counts();
        writeln!(f, "{:<37}{}", "faults", counts.values().sum::<u64>())?;
        counts.iter().try_for_each(|(fault, count)| writeln!(f, "  {fault:<35}{count}"))
    }
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, not a number")))
}
