//! Random changes of the Lease under random faults: what an observer tells is true, or says that it is unknown.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use futures::FutureExt;
use kube_lease_lock::testing::{Fault, LeaseServer, Link, Verb};
use kube_lease_lock::{LeaseObserver, ObservedHolder};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::observer;
use crate::fixture::{NAME, NAMESPACE, put_lease};

const WORLDS: u64 = 100;
const STEPS: usize = 60;

/// The longest that an observer needs after all faults have ended: a read without an answer, the pause after it, and the silence
/// of a watch.
const RECOVERY: Duration = Duration::from_secs(60);

struct World {
    seed: u64,
    rng: Rng,
    server: LeaseServer,
    link: Link,
    observer: LeaseObserver,
    /// When each state of the Lease began.
    history: Vec<(Instant, State)>,
}

/// The holder, the last renewal, and the lease duration. `None`: nobody holds the Lease.
type State = Option<(String, SystemTime, Duration)>;

impl World {
    fn new(seed: u64) -> Self {
        let server = LeaseServer::new();
        let (link, observer) = observer(&server);
        Self {
            seed,
            rng: Rng::with_seed(seed),
            server,
            link,
            observer,
            history: vec![(Instant::now(), None)],
        }
    }

    fn state(&self) -> State {
        let spec = self.server.lease(NAMESPACE, NAME)?.spec?;
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty())?;
        let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(15)).unwrap();
        Some((holder, spec.renew_time?.0.into(), Duration::from_secs(seconds)))
    }

    fn change(&mut self) {
        match self.rng.u32(..10) {
            0..3 => drop(self.server.take(NAMESPACE, NAME, ["one", "two", "three"][self.rng.usize(..3)])),
            3..7 => self.renew(),
            7 => drop(put_lease(&self.server, &json!({ "holderIdentity": "" }))),
            8 => drop(self.server.delete(NAMESPACE, NAME)),
            _ => self.server.compact(),
        }
        let state = self.state();
        if self.history.last().is_none_or(|(_, last)| *last != state) {
            self.history.push((Instant::now(), state));
        }
    }

    fn renew(&mut self) {
        if let Some((holder, ..)) = self.state() {
            let transitions =
                self.server.lease(NAMESPACE, NAME).and_then(|lease| lease.spec?.lease_transitions);
            self.server.take(NAMESPACE, NAME, &holder);
            self.server.edit(NAMESPACE, NAME, |lease| {
                lease.spec.as_mut().unwrap().lease_transitions = transitions;
            });
        }
    }

    fn injure(&mut self) {
        let millis = Duration::from_millis(self.rng.u64(1..8_000));
        let verb = [Verb::Get, Verb::Watch][self.rng.usize(..2)];
        let times = self.rng.usize(1..5);
        match self.rng.u32(..14) {
            0 => self.link.cut(),
            1 | 2 => self.link.mend(),
            3 | 4 => self.link.heal(),
            5 => self.link.mute_watches(),
            6 => self.link.end_watches(),
            7 => self.link.reset_watches(),
            8 => self.link.inject(Fault::drop_events().times(times)),
            9 => self.link.inject(Fault::delay_events(millis).times(times)),
            10 => self.link.inject(Fault::delay_after(millis).on(verb).times(times)),
            11 => self.link.inject(Fault::hang().on(verb).times(times)),
            12 => {
                let code = [403, 410, 429, 500, 503][self.rng.usize(..5)];
                self.link.inject(Fault::status(code).on(verb).times(times));
            }
            _ => self.link.set_distance(Duration::from_millis(self.rng.u64(..300))),
        }
    }

    /// A holder is told as expired only if its record had been in the Lease for its whole duration, not long ago. The read that
    /// shows this may be on its way for a while. Returns whether one is told.
    fn check_expiry(&self) -> bool {
        let ObservedHolder::Expired(told) = self.observer.holder() else { return false };
        let is_told = |state: &State| {
            state.as_ref().is_some_and(|(holder, renewed, _)| {
                *holder == told.identity && Some(*renewed) == told.renewed
            })
        };
        let ends = self.history.iter().skip(1).map(|(at, _)| *at).chain([Instant::now()]);
        let stayed = self.history.iter().zip(ends).any(|((began, state), ended)| {
            is_told(state) && ended.duration_since(*began) >= told.duration.unwrap()
        });
        assert!(stayed, "seed {}: {told:?} in {:#?}", self.seed, self.history);
        true
    }

    /// Without faults, the answer is the truth.
    async fn check_truth(&mut self) {
        self.link.mend();
        self.link.heal();
        self.link.set_distance(Duration::from_millis(20));
        let until = Instant::now() + RECOVERY;
        while Instant::now() < until {
            sleep(Duration::from_secs(2)).await;
            self.renew();
        }
        sleep(Duration::from_millis(200)).await;
        let answer = self.observer.holder();
        let told = answer.holder().map(|holder| &*holder.identity);
        let state = self.state();
        let truth = state.as_ref().map(|(holder, ..)| &**holder);
        let known = matches!(answer, ObservedHolder::Held(_) | ObservedHolder::Free);
        assert!(known && told == truth, "seed {}: {answer:?}, but it is {state:?}", self.seed);
        assert_eq!(self.link.open_watches(), 1, "seed {}", self.seed);
        // Whoever waits for changes has been told of the last one.
        let mut last = None;
        while let Some(Some(answer)) = self.observer.changed().now_or_never() {
            last = Some(answer);
        }
        let last = last.unwrap_or(answer);
        assert_eq!(last.holder().map(|holder| &*holder.identity), truth, "seed {}", self.seed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_tells_the_truth_under_random_faults() {
    let mut expired = 0;
    for seed in 0..WORLDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            for _ in 0..world.rng.u32(..3) {
                world.change();
            }
            if world.rng.bool() {
                world.injure();
            }
            let pause = Duration::from_millis(world.rng.u64(..9_000));
            for _ in 0..4 {
                sleep(pause / 4).await;
                expired += usize::from(world.check_expiry());
            }
        }
        world.check_truth().await;
    }
    assert!(expired > 100, "told as expired {expired} times");
}
