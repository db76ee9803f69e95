//! The store stands still, and many holders lose their Leases at the same time.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Link, Verb};
use kube_lease_lock::{Election, LeaseLock};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
const LEASES: usize = 50;
/// As long as a defragmentation of etcd took.
const STALL: Duration = Duration::from_secs(38);

#[tokio::test(start_paused = true)]
async fn after_a_stall_of_the_store_each_lease_has_one_leader_soon_and_the_server_is_not_flooded() {
    let server = LeaseServer::new();
    let links = [server.connect(), server.connect()];
    let mut elections = Vec::new();
    for number in 0..LEASES {
        elections.push(
            links.each_ref().map(|link| {
                LeaseLock::new(link.client(), format!("lease-{number}")).unwrap().elect().unwrap()
            }),
        );
        sleep(SECOND / 7).await;
    }
    let led = || elections.iter().filter(|pair| pair.iter().any(Election::is_leader)).count();
    sleep(20 * SECOND).await;
    assert_eq!(led(), LEASES);
    let is_write = |verb: &Verb| matches!(verb, Verb::Apply | Verb::Update | Verb::Patch);
    for link in &links {
        link.inject(Fault::hang());
        link.forget_requests();
    }
    sleep(STALL).await;
    assert_eq!(led(), 0, "longer than the renew deadline");
    let during: usize = links.iter().map(|link| link.requests().len()).sum();
    assert!(during < 40 * LEASES, "{during} requests during the stall");
    for link in &links {
        link.heal();
        link.forget_requests();
    }
    let healed = Instant::now();
    while led() < LEASES {
        sleep(SECOND / 10).await;
    }
    assert!(healed.elapsed() < 5 * SECOND, "{:?}", healed.elapsed());
    let requests: Vec<_> = links.iter().flat_map(Link::requests).collect();
    let writes = requests.iter().filter(|request| is_write(&request.verb)).count();
    assert!(writes < 4 * LEASES && requests.len() < 8 * LEASES, "{writes} writes of {}", requests.len());
    sleep(60 * SECOND).await;
    for pair in &elections {
        assert_eq!(pair.iter().filter(|election| election.is_leader()).count(), 1);
    }
}
