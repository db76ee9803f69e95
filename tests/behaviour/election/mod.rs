//! Leader election: on both servers, and with faults in-process and in virtual time.

mod both_servers;
mod ending;
mod leading;
mod receivers;
mod refused;

use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Machine};
use kube_lease_lock::{Election, Hold};
use tokio::time::timeout;

use crate::fixture::{LEASE_DURATION, builder, connect};

/// How long a process that stepped down waits before it becomes a candidate again.
const STEP_DOWN_PAUSE: Duration = Duration::from_secs(5);

/// More virtual time than a few requests and their replies take.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The longest that a test waits for a change.
const CHANGE_TIMEOUT: Duration = LEASE_DURATION.saturating_mul(4);

fn candidate(server: &LeaseServer) -> Election {
    connect(server).1.elect().unwrap()
}

/// A candidate that runs on a machine that the test can freeze and suspend.
fn candidate_on_a_machine(server: &LeaseServer) -> (Machine, Election) {
    let machine = Machine::new();
    let lock = builder(server).1.machine(&machine).build().unwrap();
    (machine, lock.elect().unwrap())
}

/// Waits for the next change, which has to be the start of a leadership.
async fn leads(election: &mut Election) -> Hold {
    let changed = timeout(CHANGE_TIMEOUT, election.changed()).await.expect("nothing has changed");
    changed.unwrap().expect("a leadership should have started")
}

/// Waits for the next change, which has to be the end of a leadership.
async fn ended(election: &mut Election) {
    let changed = timeout(CHANGE_TIMEOUT, election.changed()).await.expect("nothing has changed");
    assert!(changed.unwrap().is_none(), "the leadership should have ended");
}
