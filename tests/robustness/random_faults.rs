//! All kinds of faults, at random and at the same time, for as long as one likes.
//!
//! The seed decides which fault the nemesis injects when. The consequences depend on the machine, so a failure may not
//! come again with the same seed. That is why the event log of a failed run is kept.

use std::env;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use crate::administrator::role;
use crate::behaviour::Behaviour;
use crate::contender::Contender;
use crate::fixture::Fixture;
use crate::nemesis::{self, Nemesis};
use crate::proxy::Distance;
use crate::support::{ControlPlane, Verdict, now};

const CONTENDERS: usize = 5;
/// The contenders that are far from the API server. They differ in their leases and in their clients.
const FAR_CONTENDERS: [usize; 2] = [2, 3];
/// The delay of a far contender in each direction, in milliseconds.
const FAR: RangeInclusive<u64> = 50..=200;
const DEFAULT_DURATION: Duration = Duration::from_secs(15);

/// A far contender gets at least one turn for so many turns of the average near contender. Faults may take turns from it.
const LEAST_SHARE: usize = 10;

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
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut contenders = contenders(&fixture, &mut rng).await;

    let nemesis = Nemesis::new(Arc::clone(&fixture.event_log), duration);
    let start = Instant::now();
    let links: Vec<_> = contenders.iter().map(|it| (it.name().to_owned(), Arc::clone(&it.link))).collect();
    let users: Vec<_> = contenders.iter().map(|it| it.name().to_owned()).collect();
    tokio::join!(
        nemesis::network::inject(&nemesis, rng.fork(), &links),
        nemesis::processes::inject(&nemesis, rng.fork(), &mut contenders, &fixture.register),
        nemesis::control_plane::inject(&nemesis, rng.fork(), &fixture, &users),
    );
    let elapsed = start.elapsed();
    let shares = Shares::count(&contenders, &fixture.register.verdict());
    wait_until_each_has_acquired(&fixture, &mut contenders).await;

    let verdict = fixture.register.verdict();
    let summary = Summary { seed, elapsed, nemesis: &nemesis, verdict: &verdict, shares: &shares };
    println!("{summary}");
    fixture.event_log.record("nemesis", &summary);
    verdict.holds.iter().for_each(|hold| fixture.event_log.record("hold", hold));
    assert!(verdict.is_clean(), "ROBUSTNESS_SEED={seed}: {verdict}");
    shares.assert_far_contenders_get_turns(seed);
    let long_stops = nemesis.count(nemesis::processes::LONG_STOP);
    assert!(
        verdict.stale > 0 || long_stops < LONG_STOPS_WITH_STALE_WRITE,
        "not one write came too late in {long_stops} long stops"
    );
}

/// Most of them hold the lock for a short time; one keeps it for several renewals. They differ in their leases, in
/// their clients and in their distances.
async fn contenders(fixture: &Fixture<'_>, rng: &mut fastrand::Rng) -> Vec<Contender> {
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
        let distance = if FAR_CONTENDERS.contains(&number) {
            let delay = Duration::from_millis(rng.u64(FAR));
            Distance { delay, jitter: delay / 4 }
        } else {
            Distance::NONE
        };
        fixture.event_log.record(&name, format!("each direction takes {distance}"));
        contenders.push(fixture.contender_at(distance, &name, behaviour).await);
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

/// How often each contender held the lock while faults were injected.
struct Shares(Vec<Share>);

struct Share {
    contender: String,
    distance: Distance,
    turns: usize,
}

impl Shares {
    fn count(contenders: &[Contender], verdict: &Verdict) -> Self {
        let share = |contender: &Contender| Share {
            contender: contender.name().to_owned(),
            distance: contender.link.distance(),
            turns: verdict.holds.iter().filter(|hold| contender.owns(&hold.name)).count(),
        };
        Self(contenders.iter().map(share).collect())
    }

    /// In a short run, faults may keep a contender out for most of the time. So the bound grows with the run.
    fn assert_far_contenders_get_turns(&self, seed: u64) {
        let (far, near): (Vec<_>, Vec<_>) = self.0.iter().partition(|share| share.distance != Distance::NONE);
        let near_turns: usize = near.iter().map(|share| share.turns).sum();
        let least = near_turns / near.len() / LEAST_SHARE;
        for Share { contender, turns, .. } in far {
            assert!(
                *turns >= least,
                "ROBUSTNESS_SEED={seed}: {contender} had {turns} turns, fewer than {least}\n{self}"
            );
        }
    }
}

impl Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|Share { contender, distance, turns }| {
            let delay = format!("turns of {contender}, {distance}");
            writeln!(f, "{delay:<37}{turns}")
        })
    }
}

struct Summary<'a> {
    seed: u64,
    elapsed: Duration,
    nemesis: &'a Nemesis,
    verdict: &'a Verdict,
    shares: &'a Shares,
}

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ROBUSTNESS_SEED={}", self.seed)?;
        writeln!(f, "{:<37}{:.1}", "minutes", self.elapsed.as_secs_f64() / 60.0)?;
        write!(f, "{}{}", self.verdict, self.shares)?;
        let counts = self.nemesis.counts();
        writeln!(f, "{:<37}{}", "faults", counts.values().sum::<u64>())?;
        counts.iter().try_for_each(|(fault, count)| writeln!(f, "  {fault:<35}{count}"))
    }
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, not a number")))
}
