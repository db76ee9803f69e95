//! A contender with this crate. It acquires and releases the lock again and again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube_lease_lock::{LeaseGuard, LeaseLock, ReleaseError};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::fixture::Fixture;
use crate::support::{Pace, Reporter, now};

/// It contends until it is dropped.
pub(crate) struct OurContender {
    ends: Arc<Mutex<Vec<End>>>,
    _task: AbortOnDropHandle<()>,
}

/// How a hold ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) name: String,
    pub(crate) outcome: Result<(), ReleaseError>,
}

impl OurContender {
    /// Its holds in the register are named `<name>#1` and so on.
    pub(crate) async fn start(fixture: &Fixture, name: &'static str, pace: Pace) -> Self {
        let lock = fixture.lock(pace.lease_duration).await;
        let reporter = Reporter::connect(fixture.register().address()).await;
        let ends = Arc::default();
        let task = tokio::spawn(contend(lock, reporter, name, pace, Arc::clone(&ends)));
        Self { ends, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn ends(&self) -> Vec<End> {
        self.ends.lock().unwrap().clone()
    }
}

async fn contend(
    lock: LeaseLock,
    mut reporter: Reporter,
    name: &'static str,
    pace: Pace,
    ends: Arc<Mutex<Vec<End>>>,
) {
    for number in 1.. {
        let guard = lock.acquire().await.unwrap();
        let name = format!("{name}#{number}");
        report_hold(&guard, &mut reporter, &name, pace.hold).await;
        let outcome = guard.release().await;
        ends.lock().unwrap().push(End { name, outcome });
        sleep(pace.rest).await;
    }
}

/// Reports the hold until it has lasted long enough or is lost. It reads the clock before it checks the hold, so that
/// the report is true for that time.
async fn report_hold(guard: &LeaseGuard, reporter: &mut Reporter, name: &str, duration: Duration) {
    let fencing = u64::from(guard.fencing_token());
    let end = Instant::now() + duration;
    while Instant::now() < end {
        let at = now();
        if !guard.is_held() {
            break;
        }
        reporter.held(name, fencing, at).await;
        reporter.write(name, fencing, at).await;
        sleep(Duration::from_millis(5)).await;
    }
    reporter.ended(name, now()).await;
}
