//! Three replicas of a controller, one of which leads. It steps down, is cut off, is shut down: another goes on.
//!
//! ```text
//! cargo run --example leader_election
//! ```
//!
//! Each replica stands for election in the background, and follows a watch channel that says whether it leads.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Link};
use kube_lease_lock::{Election, FencingToken, Hold, LeaseLock};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// Who reconciled, and under which leadership.
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
    println!("-- {} is cut off from the API server, and does not know", NAMES[leader]);
    let link = replicas[leader].as_ref().ok_or("gone")?.link.clone();
    link.inject(Fault::hang());
    link.mute_watches();

    let (leader, token) = next_leader(&mut rounds, Some((leader, token))).await?;
    link.heal();
    println!("-- {} is shut down", NAMES[leader]);
    replicas[leader].take().ok_or("gone")?.shut_down().await?;

    next_leader(&mut rounds, Some((leader, token))).await?;
    println!("-- the others are shut down too");
    for replica in replicas.into_iter().flatten() {
        replica.shut_down().await?;
    }
    Ok(())
}

/// One process, as it were: it shares neither client nor lock with the others.
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

    /// Its successor need not wait for the Lease to expire.
    async fn shut_down(self) -> Result<()> {
        self.election.stop().await?;
        self.lock.shutdown().await?;
        Ok(())
    }
}

/// Works whenever this replica leads, until the election ends.
async fn follow(
    me: usize,
    mut leadership: watch::Receiver<Option<Hold>>,
    rounds: mpsc::UnboundedSender<Round>,
) {
    while leadership.changed().await.is_ok() {
        let held = leadership.borrow_and_update().clone();
        let Some(held) = held else {
            println!("{} does not lead", NAMES[me]);
            continue;
        };
        println!("{} leads, with token {}", NAMES[me], held.fencing_token());
        // What stops the work is the token, not the channel, which may lag behind.
        let lost = held.token();
        tokio::select! {
            biased;
            () = lost.cancelled() => println!("{} has stopped: {}", NAMES[me], held.ended().await),
            () = reconcile(me, held.fencing_token(), rounds.clone()) => {}
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

/// Waits until another than `last` has done its first round, and checks that none comes from a leader replaced.
async fn next_leader(rounds: &mut mpsc::UnboundedReceiver<Round>, last: Option<Round>) -> Result<Round> {
    let mut newest = last;
    loop {
        let round = timeout(Duration::from_secs(30), rounds.recv()).await?.ok_or("all replicas are gone")?;
        if newest.is_some_and(|(_, token)| round.1 < token) {
            return Err(format!("{} worked after it had been replaced", NAMES[round.0]).into());
        }
        newest = Some(round);
        if last.is_none_or(|(leader, _)| leader != round.0) {
            return Ok(round);
        }
    }
}
