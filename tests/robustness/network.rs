//! Failures of the network between one contender and the API server.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;

use crate::manner::Manner;
use crate::proxy::Fault;
use crate::support::now;
use crate::world::{World, undisturbed};

const LONG: Duration = Duration::from_secs(5);

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_holder_that_is_cut_off_stops_before_another_one_starts() {
    let faults = [
        ("requests late", Fault::DelayRequests(LONG)),
        ("replies late", Fault::DelayReplies(LONG)),
        ("replies lost", Fault::DropReplies),
        ("half open", Fault::HalfOpen),
        ("refused", Fault::Refuse),
        ("trickling", Fault::Trickle),
        ("replies cut", Fault::CutReplies),
    ];
    join_all(faults.map(|(name, fault)| cut_off(name, fault))).await;
}

async fn cut_off(name: &str, fault: Fault) {
    let world = World::new(&name.replace(' ', "-"), undisturbed().await).await;
    let (holder, mut waiter) = world.keepers(Manner::KEEPER).await;
    let cut = now();
    world.journal.note("network", name);
    holder.link.set(fault);
    if fault == Fault::Refuse {
        holder.link.reset();
    }
    let lost = holder.said("lost", cut).await;
    assert!(lost.rest.contains("DeadlinePassed"), "{name}: {}", lost.rest);
    let taken = waiter.said("acquired", cut).await;
    assert!(lost.at < taken.at, "{name}: lost {} ns too late", lost.at - taken.at);

    holder.link.set(Fault::None);
    waiter.kill().await;
    holder.said("acquired", taken.at).await;
    world.clean_verdict();
}

/// As after a firewall forgot them: the connections of a holder and a waiter go silent, and new ones work.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn dead_connections_are_replaced() {
    let world = World::new("dead-connections", undisturbed().await).await;
    let manner = Manner { rounds: 10..=20, ..Manner::KEEPER };
    let (one, other) = world.keepers(manner).await;
    for contender in [&one, &other] {
        contender.link.set(Fault::HalfOpen);
    }
    sleep(Duration::from_millis(500)).await;
    for contender in [&one, &other] {
        contender.link.set(Fault::None);
    }
    let healed = now();
    tokio::join!(one.said("acquired", healed), other.said("acquired", healed));
    world.clean_verdict();
}
