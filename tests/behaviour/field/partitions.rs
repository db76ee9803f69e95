//! Every candidate is cut off for a long time, and comes back.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer};
use tokio::time::sleep;

use crate::fixture::{LEASE_DURATION, connect};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn after_a_long_partition_of_all_candidates_exactly_one_leads() {
    for (all_at_once, fault) in
        [(true, None), (false, None), (true, Some(Fault::refuse())), (false, Some(Fault::status(503)))]
    {
        let server = LeaseServer::new();
        let locks: Vec<_> = (0..3).map(|_| connect(&server)).collect();
        let elections: Vec<_> = locks.iter().map(|(_, lock)| lock.elect().unwrap()).collect();
        let leaders = || elections.iter().filter(|election| election.is_leader()).count();
        sleep(MINUTE).await;
        assert_eq!(leaders(), 1);
        for (link, _) in &locks {
            match &fault {
                Some(fault) => link.inject(fault.clone()),
                None => link.cut(),
            }
        }
        sleep(20 * MINUTE).await;
        assert_eq!(leaders(), 0, "nobody could renew");
        for (link, _) in &locks {
            link.heal();
            link.mend();
            if !all_at_once {
                sleep(Duration::from_secs(1)).await;
            }
        }
        sleep(2 * LEASE_DURATION).await;
        for _ in 0..60 {
            sleep(MINUTE / 20).await;
            assert_eq!(leaders(), 1, "all at once: {all_at_once}, {fault:?}");
        }
    }
}
