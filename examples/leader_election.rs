//! Three replicas of a controller, one of which leads. When the leader steps down, is disconnected or is shut down,
//! another replica takes over.
//!
//! ```text
//! cargo run --example leader_election
//! ```
//!
//! Each replica takes part in the election in the background, and follows a receiver that says whether it leads.

use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Link};
use kube_lease_lock::{Election, FencingToken, LeadershipReceiver, LeaseLock};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// The replica that reconciled, and the fencing token of its leadership.
type Round = (usize, FencingToken);
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const NAMES: [&str; 3] = ["ada", "bob", "cleo"];

#[tokio::main]
async fn main() -> Result<()> {
    let server = LeaseServer::new();
    let (sender, mut rounds) = mpsc::unbounded_channel();
    let mut replicas = Vec::new();
    for me in 0..NAMES.len() {
        replicas.push(Some(Replica::start(&server, me, sender.clone())?));
    }

    let (leader, token) = next_leader(&mut rounds, None).await?;
    println!("-- {} is asked to step down", NAMES[leader]);
    replicas[leader].as_ref().ok_or("gone")?.election.step_down().await?;

    let (leader, token) = next_leader(&mut rounds, Some((leader, token))).await?;
    println!("-- {} is cut off from the API server, but does not know it", NAMES[leader]);
    let link = replicas[leader].as_ref().ok_or("gone")?.link.clone();
    link.cut();

    let (leader, token) = next_leader(&mut rounds, Some((leader, token))).await?;
    link.mend();
    println!("-- {} is shut down", NAMES[leader]);
    replicas[leader].take().ok_or("gone")?.shut_down().await?;

    next_leader(&mut rounds, Some((leader, token))).await?;
    println!("-- the others are shut down too");
    for replica in replicas.into_iter().flatten() {
        replica.shut_down().await?;
    }
    Ok(())
}

/// Each replica represents a process: it shares neither client nor lock with the others.
struct Replica {
    link: Link,
    lock: LeaseLock,
    election: Election,
}

impl Replica {
    fn start(server: &LeaseServer, me: usize, rounds: mpsc::UnboundedSender<Round>) -> Result<Self> {
        let link = server.connect();
        let lock = LeaseLock::builder(link.client(), "controller")
            .identity(NAMES[me])
            .lease_duration(Duration::from_secs(3))
            .build()?;
        let election = lock.elect()?;
        tokio::spawn(follow(me, election.subscribe(), rounds));
        Ok(Self { link, lock, election })
    }

    /// Releases the Lease, so that the successor need not wait until it expires.
    async fn shut_down(self) -> Result<()> {
        self.election.stop().await?;
        self.lock.shutdown().await?;
        Ok(())
    }
}

/// Works whenever this replica leads, until the election ends.
async fn follow(me: usize, mut leadership: LeadershipReceiver, rounds: mpsc::UnboundedSender<Round>) {
    while let Ok(hold) = leadership.changed().await {
        let Some(hold) = hold else {
            println!("{} does not lead", NAMES[me]);
            continue;
        };
        println!("{} leads, with token {}", NAMES[me], hold.fencing_token());
        // The token stops the work, not the channel, which may lag behind.
        let lost = hold.token();
        tokio::select! {
            biased;
            () = lost.cancelled() => println!("{} has stopped: {}", NAMES[me], hold.ended().await),
            () = reconcile(me, hold.fencing_token(), rounds.clone()) => {}
        }
    }
}

/// The work of the leader. It can be dropped at each `.await`.
async fn reconcile(me: usize, token: FencingToken, rounds: mpsc::UnboundedSender<Round>) {
    for round in 1.. {
        sleep(Duration::from_millis(300)).await;
        println!("  {} has reconciled {round} times", NAMES[me]);
        if rounds.send((me, token)).is_err() {
            return;
        }
    }
}

/// Waits for the first round of another leader than `last`, and checks that no round comes from an earlier leader.
async fn next_leader(rounds: &mut mpsc::UnboundedReceiver<Round>, last: Option<Round>) -> Result<Round> {
    let mut newest = last;
    loop {
        let round = timeout(Duration::from_secs(30), rounds.recv()).await?.ok_or("all replicas are gone")?;
        if newest.is_some_and(|(_, token)| round.1 < token) {
            return Err(format!("{} worked after another replica had taken over", NAMES[round.0]).into());
        }
        newest = Some(round);
        if last.is_none_or(|(leader, _)| leader != round.0) {
            return Ok(round);
        }
    }
}
