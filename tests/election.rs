//! Leader election, in-process and in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Link, Machine, Verb};
use kube_lease_lock::{AcquireError, Election, Held, LeaseLock, LossReason, ReleaseError};
use tokio::time::{Instant, sleep, timeout};

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
async fn led_by(election: &mut Election) -> Held {
    let changed = timeout(4 * D, election.changed()).await.expect("nothing has changed");
    changed.unwrap().expect("leadership")
}

/// The next change, which has to be the end of a leadership.
async fn ended(election: &mut Election) {
    let changed = timeout(4 * D, election.changed()).await.expect("nothing has changed");
    assert!(changed.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn leads_and_keeps_leading() {
    let server = LeaseServer::new();
    let (_link, mut election) = candidate(&server);
    assert!(!election.is_leader() && election.held().is_none(), "not before the Lease is held");
    let held = led_by(&mut election).await;
    assert_eq!(holder(&server).as_deref(), Some(held.holder_identity()));
    assert_eq!(election.held().unwrap().fencing_token(), held.fencing_token());
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
    assert!(matches!(held.lost().await, LossReason::DeadlinePassed { .. }));

    led_by(&mut second).await;
    link.heal();
    assert!(timeout(4 * D, first.changed()).await.is_err(), "it follows");
    second.stop().await.unwrap();
    led_by(&mut first).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_leads_past_the_deadline_though_nothing_runs() {
    let server = LeaseServer::new();
    let machine = Machine::new();
    let link = server.connect();
    let lock = LeaseLock::builder(link.client(), NAME).machine(&machine).build().unwrap();
    let mut election = lock.elect().unwrap();
    led_by(&mut election).await;
    machine.freeze();
    sleep(RENEW_DEADLINE).await;
    assert!(election.subscribe().borrow().is_some(), "the channel has had no chance");
    assert!(!election.is_leader() && election.held().is_none());
    let (_link, mut second) = candidate(&server);
    led_by(&mut second).await;
    machine.thaw();
    ended(&mut election).await;
}

#[tokio::test(start_paused = true)]
async fn a_leadership_that_ended_before_it_was_told_is_not_told() {
    let server = LeaseServer::new();
    let machine = Machine::new();
    let link = server.connect();
    let lock = LeaseLock::builder(link.client(), NAME).machine(&machine).build().unwrap();
    let mut election = lock.elect().unwrap();
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
    assert_eq!(held.lost().await, LossReason::TakenOver { by: "somebody".into() });
    assert!(timeout(D / 2, election.changed()).await.is_err(), "somebody else leads");
    let next = led_by(&mut election).await;
    assert!(next.fencing_token() > held.fencing_token());
    sleep(MOMENT).await;
    server.delete("default", NAME);
    assert_eq!(next.lost().await, LossReason::Deleted);
    sleep(MOMENT).await;
    // Nobody is in its way, so it leads again before it could tell that it did not.
    let again = led_by(&mut election).await;
    assert!(again.fencing_token() > next.fencing_token());
}

#[tokio::test(start_paused = true)]
async fn stepping_down_hands_over_even_to_those_that_poll() {
    let server = LeaseServer::new();
    let (_link, mut first) = candidate(&server);
    let held = led_by(&mut first).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::status(403).on(Verb::Watch));
    let mut second = lock.elect().unwrap();
    sleep(D).await;
    let mut leadership = first.subscribe();
    leadership.mark_unchanged();
    first.step_down().await.unwrap();
    assert!(!held.is_held() && !first.is_leader());
    assert_eq!(held.lost().await, LossReason::Released);
    leadership.changed().await.unwrap();
    assert!(leadership.borrow().is_none());
    ended(&mut first).await;
    let stepped_down = Instant::now();
    led_by(&mut second).await;
    assert!(stepped_down.elapsed() < STAND_BACK);
    assert!(timeout(4 * D, first.changed()).await.is_err(), "it follows");
    second.step_down().await.unwrap();
    led_by(&mut first).await;
}

#[tokio::test(start_paused = true)]
async fn stepping_down_alone_is_a_pause() {
    let server = LeaseServer::new();
    let (link, mut election) = candidate(&server);
    election.step_down().await.unwrap();
    led_by(&mut election).await;
    link.inject(Fault::delay_after(Duration::from_secs(2)).on(Verb::Apply).times(1));
    let asked = Instant::now();
    let stepped_down = election.step_down();
    // Given up on the way, it goes on.
    assert!(timeout(MOMENT, stepped_down).await.is_err());
    ended(&mut election).await;
    election.step_down().await.unwrap();
    led_by(&mut election).await;
    let paused = asked.elapsed();
    let earliest = Duration::from_secs(2) + STAND_BACK; // after the release
    assert!(paused >= earliest && paused <= earliest + MOMENT, "{paused:?}");
}

#[tokio::test(start_paused = true)]
async fn stopping_and_stepping_down_tell_how_the_release_went() {
    let server = LeaseServer::new();
    let (link, mut election) = candidate(&server);
    let held = led_by(&mut election).await;
    let leadership = election.subscribe();
    link.inject(Fault::hang());
    let lease = held.lease().clone();
    assert_eq!(election.step_down().await, Err(ReleaseError::Unconfirmed { lease: lease.clone() }));
    ended(&mut election).await;
    link.heal();
    led_by(&mut election).await;
    link.inject(Fault::hang());
    assert_eq!(election.stop().await, Err(ReleaseError::Unconfirmed { lease }));
    assert!(leadership.has_changed().is_err() && leadership.borrow().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_election_has_released_and_closes_its_channel() {
    let server = LeaseServer::new();
    let (_link, mut election) = candidate(&server);
    let held = led_by(&mut election).await;
    let mut leadership = election.subscribe();
    leadership.mark_unchanged();
    election.stop().await.unwrap();
    assert_eq!(holder(&server), None);
    assert!(!held.is_held());
    leadership.changed().await.unwrap();
    assert!(leadership.borrow_and_update().is_none());
    assert!(leadership.changed().await.is_err(), "closed");
    sleep(4 * D).await;
    assert_eq!(holder(&server), None, "it stands no more");
}

#[tokio::test(start_paused = true)]
async fn an_election_stopped_before_it_leads_leaves_nothing_behind() {
    for after in 0..40 {
        let server = LeaseServer::new();
        let (_link, lock) = connect(&server);
        let election = lock.elect().unwrap();
        for _ in 0..after {
            tokio::task::yield_now().await;
        }
        election.stop().await.unwrap();
        lock.shutdown().await.unwrap();
        assert_eq!(holder(&server), None, "stopped after {after} turns");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_election_fires_at_once_and_shutdown_waits_for_its_release() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let mut election = lock.elect().unwrap();
    let held = led_by(&mut election).await;
    let leadership = election.subscribe();
    link.inject(Fault::delay_before(Duration::from_secs(2)).on(Verb::Apply));
    std::thread::spawn(move || drop(election)).join().unwrap();
    assert!(!held.is_held() && held.token().is_cancelled());
    lock.shutdown().await.unwrap();
    assert_eq!(holder(&server), None);
    assert!(leadership.has_changed().is_err() && leadership.borrow().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_election_dropped_at_any_time_leaves_nothing_behind() {
    for after in 0..40 {
        let server = LeaseServer::new();
        let (_link, lock) = connect(&server);
        let election = lock.elect().unwrap();
        for _ in 0..after {
            tokio::task::yield_now().await;
        }
        drop(election);
        lock.shutdown().await.unwrap();
        assert_eq!(holder(&server), None, "dropped after {after} turns");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_election_dropped_on_another_thread_leaves_nothing_behind() {
    for after in 0..300 {
        let server = LeaseServer::new();
        let (link, lock) = connect(&server);
        // Whoever does not wait for the release finds the Lease held.
        link.inject(Fault::delay_before(Duration::from_millis(5)).on(Verb::Apply));
        let election = lock.elect().unwrap();
        // Anywhere between the claim and the taking of the office.
        while after % 5 != 0 && link.count(Verb::Update) == 0 {
            std::hint::spin_loop();
        }
        for _ in 0..(after * 20) {
            std::hint::spin_loop();
        }
        drop(election);
        lock.shutdown().await.unwrap();
        assert_eq!(holder(&server), None, "dropped after {after} turns");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_follower_stops_waiting() {
    let server = LeaseServer::new();
    let (_link, mut leader) = candidate(&server);
    led_by(&mut leader).await;
    let (link, follower) = candidate(&server);
    sleep(MOMENT).await;
    assert_eq!(link.open_watches(), 1);
    let leadership = follower.subscribe();
    drop(follower);
    sleep(MOMENT).await;
    assert_eq!(link.open_watches(), 0);
    assert!(leadership.has_changed().is_err(), "closed");
}

#[tokio::test(start_paused = true)]
async fn dropped_receivers_end_nothing() {
    let server = LeaseServer::new();
    let (_link, election) = candidate(&server);
    drop(election.subscribe());
    sleep(4 * D).await;
    assert!(election.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_refused_candidate_says_why_and_leads_once_it_is_permitted() {
    for verb in [Verb::Get, Verb::Update] {
        let server = LeaseServer::new();
        let (link, lock) = connect(&server);
        link.inject(Fault::status(403).on(verb));
        let mut election = lock.elect().unwrap();
        assert!(timeout(40 * D, election.changed()).await.is_err());
        let error = election.last_error();
        assert!(matches!(error, Some(AcquireError::Forbidden(_))), "{verb:?}: {error:?}");
        assert!(link.requests().len() < 100, "{} requests in ten minutes", link.requests().len());
        link.heal();
        led_by(&mut election).await;
        assert!(election.last_error().is_none());
        election.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn each_leadership_makes_the_pauses_after_refusals_short_again() {
    let server = LeaseServer::new();
    let (link, mut election) = candidate(&server);
    link.inject(Fault::status(403));
    sleep(40 * D).await;
    link.heal();
    led_by(&mut election).await;
    sleep(MOMENT).await;
    link.inject(Fault::status(403).on(Verb::Apply).times(1));
    set_holder(&server, "");
    let cleared = Instant::now();
    ended(&mut election).await;
    led_by(&mut election).await;
    assert!(cleared.elapsed() < Duration::from_secs(1), "{:?}", cleared.elapsed());
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_an_election_that_pauses_after_a_refusal() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    link.inject(Fault::status(403));
    let mut election = lock.elect().unwrap();
    sleep(40 * D).await;
    lock.shutdown().await.unwrap();
    let changed = timeout(MOMENT, election.changed()).await.unwrap();
    assert!(matches!(changed, Err(AcquireError::ShutDown(_))), "{changed:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_is_not_refused_any_more() {
    let server = LeaseServer::new();
    let (_link, mut leader) = candidate(&server);
    led_by(&mut leader).await;
    let (link, election) = candidate(&server);
    sleep(D).await;
    assert!(election.last_error().is_none());
    // Known to wait for another by now, it is refused all the same.
    link.inject(Fault::status(403).on_any(&[Verb::Get, Verb::Watch]));
    link.end_watches();
    sleep(4 * D).await;
    assert!(matches!(election.last_error(), Some(AcquireError::Forbidden(_))));
    link.heal();
    sleep(4 * D).await;
    assert!(election.last_error().is_none() && !election.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_comes_back_has_a_leader_again() {
    let server = LeaseServer::new();
    let (_link, mut election) = candidate(&server);
    let held = led_by(&mut election).await;
    sleep(MOMENT).await;
    server.delete_namespace("default");
    ended(&mut election).await;
    assert_eq!(held.lost().await, LossReason::NamespaceGone);
    sleep(4 * D).await;
    assert!(matches!(election.last_error(), Some(AcquireError::NamespaceGone(_))));
    server.create_namespace("default");
    led_by(&mut election).await;
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
async fn shutdown_ends_an_election_that_does_not_lead_and_leaves_a_leader_alone() {
    let server = LeaseServer::new();
    let (_link, leading) = connect(&server);
    let mut leader = leading.elect().unwrap();
    led_by(&mut leader).await;
    let (_link, following) = connect(&server);
    let mut follower = following.elect().unwrap();
    sleep(MOMENT).await;
    following.shutdown().await.unwrap();
    let changed = timeout(MOMENT, follower.changed()).await.unwrap();
    assert!(matches!(changed, Err(AcquireError::ShutDown(_))), "{changed:?}");
    assert!(matches!(follower.last_error(), Some(AcquireError::ShutDown(_))));
    assert!(matches!(following.elect(), Err(AcquireError::ShutDown(_))));

    leading.shutdown().await.unwrap();
    sleep(4 * D).await;
    assert!(leader.is_leader(), "as with a guard");
    leader.step_down().await.unwrap();
    ended(&mut leader).await;
    let changed = timeout(MOMENT, leader.changed()).await.unwrap();
    assert!(matches!(changed, Err(AcquireError::ShutDown(_))), "{changed:?}");
}

#[test]
fn an_election_ends_with_its_runtime() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let server = LeaseServer::new();
    let first = runtime();
    let (lock, mut election, held) = first.block_on(async {
        let (_link, lock) = connect(&server);
        let mut election = lock.elect().unwrap();
        let held = led_by(&mut election).await;
        (lock, election, held)
    });
    drop(first);
    assert!(!held.is_held() && !election.is_leader());
    assert!(election.subscribe().borrow().is_none());
    assert!(matches!(lock.elect(), Err(AcquireError::NoRuntime(_))));
    runtime().block_on(async {
        ended(&mut election).await;
        assert!(matches!(election.changed().await, Err(AcquireError::TaskEnded(_))));
        assert!(election.stop().await.is_ok());
    });
}

#[test]
fn elections_may_go_anywhere() {
    fn goes_anywhere<T: Send + Sync + Unpin + 'static>() {}
    fn is_send<T: Send>(_: impl FnOnce(&'static mut Election) -> T) {}
    goes_anywhere::<Election>();
    is_send(Election::changed);
    is_send(|election| election.step_down());
}
