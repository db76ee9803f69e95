//! Faults of the network between one contender and the API server.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;

use crate::behaviour::Behaviour;
use crate::fixture::{Fixture, shared_control_plane};
use crate::proxy::Fault;
use crate::support::now;

const LONG_DELAY: Duration = Duration::from_secs(5);

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_disconnected_holder_stops_before_its_successor_starts() {
    let faults = [
        ("requests delayed", Fault::DelayRequests(LONG_DELAY)),
        ("replies delayed", Fault::DelayReplies(LONG_DELAY)),
        ("replies dropped", Fault::DropReplies),
        ("half open", Fault::HalfOpen),
        ("refused", Fault::Refuse),
        ("trickling", Fault::Trickle),
        ("replies cut", Fault::CutReplies),
    ];
    join_all(faults.map(|(name, fault)| disconnect(name, fault))).await;
}

async fn disconnect(name: &str, fault: Fault) {
    let fixture = Fixture::new(&name.replace(' ', "-"), shared_control_plane().await).await;
    let (holder, mut waiter) = fixture.holder_and_waiter(Behaviour::HOLD_FOREVER).await;
    let cut = now();
    fixture.event_log.record("network", name);
    holder.link.set(fault);
    if fault == Fault::Refuse {
        holder.link.reset();
    }
    let lost = holder.wait_for("lost", cut).await;
    assert!(lost.rest.contains("DeadlinePassed"), "{name}: {}", lost.rest);
    let taken = waiter.wait_for("acquired", cut).await;
    assert!(lost.at < taken.at, "{name}: lost {} ns too late", lost.at - taken.at);

    holder.link.set(Fault::None);
    waiter.kill().await;
    holder.wait_for("acquired", taken.at).await;
    fixture.clean_verdict();
}

/// The connections of a holder and a waiter go silent, as if a firewall had forgotten them. New connections work.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn dead_connections_are_replaced() {
    let fixture = Fixture::new("dead-connections", shared_control_plane().await).await;
    let behaviour = Behaviour { rounds: 10..=20, ..Behaviour::HOLD_FOREVER };
    let (one, other) = fixture.holder_and_waiter(behaviour).await;
    for contender in [&one, &other] {
        contender.link.set(Fault::HalfOpen);
    }
    sleep(Duration::from_millis(500)).await;
    for contender in [&one, &other] {
        contender.link.set(Fault::None);
    }
    let healed = now();
    tokio::join!(one.wait_for("acquired", healed), other.wait_for("acquired", healed));
    fixture.clean_verdict();
}
