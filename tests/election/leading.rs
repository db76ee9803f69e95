//! Who leads, who follows, and who is told of it.

use kube_lease_lock::testing::{Fault, LeaseServer};
use kube_lease_lock::{Election, EndReason, LossReason};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    D, MOMENT, NAME, RENEW_DEADLINE, candidate, candidate_on_a_machine, connect, ended, holder, led_by,
    set_holder,
};

#[tokio::test(start_paused = true)]
async fn leads_and_keeps_leading() {
    let server = LeaseServer::new();
    let (_link, mut election) = candidate(&server);
    assert!(!election.is_leader() && election.hold().is_none(), "not before the Lease is held");
    let held = led_by(&mut election).await;
    assert_eq!(holder(&server).as_deref(), Some(held.holder_identity()));
    assert_eq!(election.hold().unwrap().fencing_token(), held.fencing_token());
    assert!(timeout(10 * D, election.changed()).await.is_err(), "nothing changes");
    assert!(election.is_leader() && held.is_held());
}

#[tokio::test(start_paused = true)]
async fn follows_while_another_leads_and_takes_over_when_it_stops() {
    let server = LeaseServer::new();
    let (_link, mut first) = candidate(&server);
    let held = led_by(&mut first).await;
    let (_link, mut second) = candidate(&server);
    assert!(timeout(4 * D, second.changed()).await.is_err(), "there is a leader");
    assert!(!second.is_leader() && second.last_error().is_none());
    let asked = Instant::now();
    first.stop().await.unwrap();
    let next = led_by(&mut second).await;
    assert!(asked.elapsed() < MOMENT);
    assert!(next.fencing_token() > held.fencing_token());
}

#[tokio::test(start_paused = true)]
async fn a_new_subscriber_is_told_the_present_state() {
    let server = LeaseServer::new();
    let (_link, mut election) = candidate(&server);
    let mut early = election.subscribe();
    timeout(MOMENT, early.changed()).await.unwrap().unwrap();
    assert!(early.borrow_and_update().is_none());
    let held = led_by(&mut election).await;
    early.changed().await.unwrap();
    let mut late = election.subscribe();
    timeout(MOMENT, late.changed()).await.unwrap().unwrap();
    for subscriber in [&mut early, &mut late] {
        let told = subscriber.borrow_and_update().clone().unwrap();
        assert_eq!(told.fencing_token(), held.fencing_token());
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_fires_before_the_channel_tells_and_before_another_leads() {
    let server = LeaseServer::new();
    let (link, mut first) = candidate(&server);
    let held = led_by(&mut first).await;
    let (_link, mut second) = candidate(&server);
    sleep(D).await;
    let mut leadership = first.subscribe();
    link.inject(Fault::hang());
    link.mute_watches();
    timeout(D, leadership.wait_for(Option::is_none)).await.unwrap().unwrap();
    assert!(held.token().is_cancelled() && !first.is_leader());
    assert!(!second.is_leader());
    ended(&mut first).await;
    assert!(matches!(held.ended().await, EndReason::Lost(LossReason::DeadlinePassed { .. })));

    led_by(&mut second).await;
    link.heal();
    assert!(timeout(4 * D, first.changed()).await.is_err(), "it follows");
    second.stop().await.unwrap();
    led_by(&mut first).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_leads_past_the_deadline_though_nothing_runs() {
    let server = LeaseServer::new();
    let (machine, mut election) = candidate_on_a_machine(&server);
    led_by(&mut election).await;
    machine.freeze();
    sleep(RENEW_DEADLINE).await;
    assert!(election.subscribe().borrow().is_some(), "the channel has had no chance");
    assert!(!election.is_leader() && election.hold().is_none());
    let (_link, mut second) = candidate(&server);
    led_by(&mut second).await;
    machine.thaw();
    ended(&mut election).await;
}

#[tokio::test(start_paused = true)]
async fn a_leadership_that_ended_before_it_was_told_is_not_told() {
    let server = LeaseServer::new();
    let (machine, mut election) = candidate_on_a_machine(&server);
    sleep(MOMENT).await;
    machine.suspended_for(RENEW_DEADLINE);
    assert!(election.subscribe().borrow().is_some(), "the channel has not been told of the end");
    let held = led_by(&mut election).await;
    assert!(held.is_held(), "the second leadership is the first that is told");
}

#[tokio::test(start_paused = true)]
async fn takes_over_after_a_crash() {
    let server = LeaseServer::new();
    let (link, mut first) = candidate(&server);
    led_by(&mut first).await;
    let (_link, mut second) = candidate(&server);
    sleep(MOMENT).await;
    link.inject(Fault::hang());
    let crashed = Instant::now();
    led_by(&mut second).await;
    assert!(crashed.elapsed() <= D + MOMENT, "{:?}", crashed.elapsed());
    assert!(!first.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_ousted_stands_again() {
    let server = LeaseServer::new();
    let (_link, mut election) = candidate(&server);
    let held = led_by(&mut election).await;
    sleep(MOMENT).await;
    set_holder(&server, "somebody");
    ended(&mut election).await;
    let end = held.ended().await;
    assert!(matches!(&end, EndReason::Lost(LossReason::TakenOver { by, .. }) if by == "somebody"), "{end:?}");
    assert!(timeout(D / 2, election.changed()).await.is_err(), "somebody else leads");
    let next = led_by(&mut election).await;
    assert!(next.fencing_token() > held.fencing_token());
    sleep(MOMENT).await;
    server.delete("default", NAME);
    assert_eq!(next.ended().await, EndReason::Lost(LossReason::Deleted));
    sleep(MOMENT).await;
    // Nobody is in its way, so it leads again before it could tell that it did not.
    let again = led_by(&mut election).await;
    assert!(again.fencing_token() > next.fencing_token());
}

#[tokio::test(start_paused = true)]
async fn elections_of_one_lock_take_turns() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let (mut first, mut second) = (lock.elect().unwrap(), lock.elect().unwrap());
    led_by(&mut first).await;
    assert!(timeout(4 * D, second.changed()).await.is_err());
    for _ in 0..3 {
        first.step_down().await.unwrap();
        ended(&mut first).await;
        led_by(&mut second).await;
        second.step_down().await.unwrap();
        ended(&mut second).await;
        led_by(&mut first).await;
        assert!(!second.is_leader());
    }
    drop(first);
    led_by(&mut second).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_receivers_end_nothing() {
    let server = LeaseServer::new();
    let (_link, election) = candidate(&server);
    drop(election.subscribe());
    sleep(4 * D).await;
    assert!(election.is_leader());
}

#[test]
fn elections_may_go_anywhere() {
    fn goes_anywhere<T: Send + Sync + Unpin + 'static>() {}
    fn is_send<T: Send>(_: impl FnOnce(&'static mut Election) -> T) {}
    goes_anywhere::<Election>();
    is_send(Election::changed);
    is_send(|election| election.step_down());
}
