//! Leader election, in-process and in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod ending;
mod leading;
mod refused;

use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Link, Machine};
use kube_lease_lock::{Election, Hold, LeaseLock};
use tokio::time::timeout;

const NAME: &str = "leader";
const D: Duration = Duration::from_secs(15);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const STAND_BACK: Duration = Duration::from_secs(5);
/// All that happens at once, in virtual time.
const MOMENT: Duration = Duration::from_millis(100);

fn connect(server: &LeaseServer) -> (Link, LeaseLock) {
    let link = server.connect();
    let lock = LeaseLock::builder(link.client(), NAME).identity("candidate").build().unwrap();
    (link, lock)
}

fn candidate(server: &LeaseServer) -> (Link, Election) {
    let (link, lock) = connect(server);
    (link, lock.elect().unwrap())
}

/// One whose machine the test can freeze and suspend.
fn candidate_on_a_machine(server: &LeaseServer) -> (Machine, Election) {
    let machine = Machine::new();
    let lock = LeaseLock::builder(server.connect().client(), NAME).machine(&machine).build().unwrap();
    (machine, lock.elect().unwrap())
}

fn holder(server: &LeaseServer) -> Option<String> {
    let holder = server.lease("default", NAME)?.spec?.holder_identity?;
    (!holder.is_empty()).then_some(holder)
}

fn set_holder(server: &LeaseServer, holder: &str) {
    server.edit("default", NAME, |lease| {
        lease.spec.as_mut().unwrap().holder_identity = Some(holder.to_owned());
    });
}

/// The next change, which has to be leadership.
async fn led_by(election: &mut Election) -> Hold {
    let changed = timeout(4 * D, election.changed()).await.expect("nothing has changed");
    changed.unwrap().expect("leadership")
}

/// The next change, which has to be the end of a leadership.
async fn ended(election: &mut Election) {
    let changed = timeout(4 * D, election.changed()).await.expect("nothing has changed");
    assert!(changed.unwrap().is_none());
}
