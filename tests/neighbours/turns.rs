//! Our own contender, turn after turn.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube_lease_lock::{LeaseGuard, LeaseLock, ReleaseError};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Pace, Reporter, now};
use crate::world::World;

/// Contends until it is dropped.
pub(crate) struct Ours {
    ends: Arc<Mutex<Vec<End>>>,
    _task: AbortOnDropHandle<()>,
}

/// How a hold ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) name: String,
    pub(crate) outcome: Result<(), ReleaseError>,
}

impl Ours {
    /// Its holds in the register are named `<name>#1` and so on.
    pub(crate) async fn start(world: &World, name: &'static str, pace: Pace) -> Self {
        let lock = world.lock(pace.lease_duration).await;
        let reporter = Reporter::connect(world.register().address()).await;
        let ends = Arc::default();
        let task = tokio::spawn(take_turns(lock, reporter, name, pace, Arc::clone(&ends)));
        Self { ends, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn ends(&self) -> Vec<End> {
        self.ends.lock().unwrap().clone()
    }
}

async fn take_turns(
    lock: LeaseLock,
    mut reporter: Reporter,
    name: &'static str,
    pace: Pace,
    ends: Arc<Mutex<Vec<End>>>,
) {
    for turn in 1.. {
        let guard = lock.acquire().await.unwrap();
        let name = format!("{name}#{turn}");
        lead(&guard, &mut reporter, &name, pace.term).await;
        let outcome = guard.release().await;
        ends.lock().unwrap().push(End { name, outcome });
        sleep(pace.rest).await;
    }
}

/// Reads the clock before it asks, so that what it says was true at that time.
async fn lead(guard: &LeaseGuard, reporter: &mut Reporter, name: &str, term: Duration) {
    let fencing = u64::from(guard.fencing_token());
    let end = Instant::now() + term;
    while Instant::now() < end {
        let at = now();
        if !guard.is_held() {
            break;
        }
        reporter.held(name, fencing, at).await;
        reporter.write(name, fencing, at).await;
        sleep(Duration::from_millis(5)).await;
    }
    reporter.left(name, now()).await;
}
