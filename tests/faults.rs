//! What the lock does when requests fail, to the millisecond: in-process, in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Link, Machine, Verb};
use kube_lease_lock::{AcquireError, LeaseLock, LossReason, ReleaseError, TryAcquireError};
use tokio::time::{Instant, sleep, timeout};

const NAME: &str = "a-lock";
const D: Duration = Duration::from_secs(15);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RENEW_INTERVAL: Duration = Duration::from_secs(5);
const MILLISECOND: Duration = Duration::from_millis(1);
/// The granularity of tokio's timers, twice: fired and observed.
const GRANULARITY: Duration = Duration::from_millis(2);

struct World {
    server: LeaseServer,
    link: Link,
    lock: LeaseLock,
}

/// A lock with all defaults, and the server and the link it lives by.
fn world() -> World {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    World { server, link, lock }
}

fn connect(server: &LeaseServer) -> (Link, LeaseLock) {
    let link = server.connect();
    let lock = LeaseLock::builder(link.client(), NAME).identity("tester").build().unwrap();
    (link, lock)
}

impl World {
    fn holder(&self) -> Option<String> {
        let holder = self.server.lease("default", NAME)?.spec?.holder_identity?;
        (!holder.is_empty()).then_some(holder)
    }

    fn set_holder(&self, holder: &str) {
        self.server.edit("default", NAME, |lease| {
            lease.spec.as_mut().unwrap().holder_identity = Some(holder.to_owned());
        });
    }
}

/// Every way in which a request may come to nothing, or seem to.
fn failures() -> Vec<(&'static str, Fault)> {
    vec![
        ("hang", Fault::hang()),
        ("refuse", Fault::refuse()),
        ("reset", Fault::reset()),
        ("lose the reply", Fault::lose_reply()),
        ("garbage", Fault::garbage()),
        ("500", Fault::status(500)),
        ("429", Fault::status(429).retry_after(Duration::from_secs(32))),
        ("503", Fault::status(503)),
        ("504 after the commit", Fault::commit_then_status(504)),
        ("late commit", Fault::delay_before(Duration::from_secs(60))),
        ("late reply", Fault::delay_after(Duration::from_secs(60))),
        ("409", Fault::status(409)),
        ("403", Fault::status(403)),
    ]
}

/// Of all verbs, so that neither a read nor the watch tells of commits that went unanswered.
fn everywhere(fault: Fault) -> Fault {
    fault.on_any(&[Verb::Get, Verb::Watch, Verb::Update, Verb::Apply])
}

#[tokio::test(start_paused = true)]
async fn the_token_fires_by_send_plus_renew_deadline_whatever_fails() {
    for (name, fault) in failures() {
        let World { link, lock, .. } = world();
        let sent = Instant::now();
        let guard = lock.acquire().await.unwrap();
        link.mute_watches();
        link.inject(everywhere(fault));
        let reason = guard.lost().await;
        let held = sent.elapsed();
        assert!(held <= RENEW_DEADLINE, "{name}: late, after {held:?}");
        assert!(held + GRANULARITY >= RENEW_DEADLINE, "{name}: early, after {held:?}");
        assert!(guard.token().is_cancelled() && !guard.is_held());
        let expected = match name {
            "403" => matches!(reason, LossReason::Forbidden { .. }),
            // Refusals only: nothing failed, and yet nothing was confirmed.
            "409" => matches!(reason, LossReason::DeadlinePassed { .. }),
            _ => matches!(reason, LossReason::DeadlinePassed { last_failure: Some(_), .. }),
        };
        assert!(expected, "{name}: {reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_renewal_the_deadline_counts_from_its_sending() {
    let World { link, lock, .. } = world();
    // The first renewal is answered 2 s after it was sent.
    link.inject(Fault::delay_after(Duration::from_secs(2)).on(Verb::Apply).times(1));
    let guard = lock.acquire().await.unwrap();
    let claimed = Instant::now();
    while link.count(Verb::Apply) == 0 {
        sleep(MILLISECOND).await;
    }
    let sent = Instant::now();
    assert!((RENEW_INTERVAL / 2..=RENEW_INTERVAL + MILLISECOND).contains(&claimed.elapsed()));
    sleep(Duration::from_millis(2_100)).await;
    link.inject(everywhere(Fault::hang()));
    guard.lost().await;
    let held = sent.elapsed();
    assert!(held <= RENEW_DEADLINE && held + GRANULARITY + MILLISECOND >= RENEW_DEADLINE, "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn one_failed_renewal_loses_nothing() {
    for (name, fault) in failures() {
        let World { link, lock, .. } = world();
        let guard = lock.acquire().await.unwrap();
        link.inject(fault.on(Verb::Apply).times(1));
        sleep(Duration::from_secs(120)).await;
        assert!(guard.is_held() && !guard.token().is_cancelled(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_claim_is_resolved_by_looking() {
    for (name, fault) in failures() {
        if name == "403" {
            continue; // A denied claim is an error at once: see the tests of behaviour.
        }
        for verb in [Verb::Get, Verb::Update, Verb::Apply] {
            let world = world();
            if verb == Verb::Apply {
                connect(&world.server).1.acquire().await.unwrap().release().await.unwrap();
            }
            world.link.inject(fault.clone().on(verb).times(1));
            let acquired = timeout(Duration::from_secs(60), world.lock.acquire()).await;
            let guard = acquired.unwrap_or_else(|_| panic!("{name} on {verb:?}: stuck")).unwrap();
            assert_eq!(world.holder().as_deref(), Some(guard.holder_identity()), "{name} on {verb:?}");
            sleep(Duration::from_secs(120)).await;
            assert!(guard.is_held(), "{name} on {verb:?}: lost later");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_repetition_of_a_write_is_recognised() {
    for verb in [Verb::Update, Verb::Apply] {
        let world = world();
        if verb == Verb::Apply {
            connect(&world.server).1.acquire().await.unwrap().release().await.unwrap();
        }
        // A transport that sends everything twice: the second answer to each write is a refusal.
        world.link.inject(Fault::replay());
        let guard = world.lock.acquire().await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert!(guard.is_held());
        guard.release().await.unwrap();
        assert_eq!(world.holder(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_release_is_resolved_by_looking() {
    for (name, fault) in failures() {
        let world = world();
        let guard = world.lock.acquire().await.unwrap();
        world.link.inject(fault.on(Verb::Apply).times(1));
        assert_eq!(guard.release().await, Ok(()), "{name}");
        assert_eq!(world.holder(), None, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_cannot_get_through_ends_with_the_hold() {
    let World { link, lock, .. } = world();
    let sent = Instant::now();
    let guard = lock.acquire().await.unwrap();
    link.inject(Fault::refuse());
    let outcome = guard.release().await;
    assert!(matches!(outcome, Err(ReleaseError::Unconfirmed { .. })), "{outcome:?}");
    assert!(sent.elapsed() <= RENEW_DEADLINE);
    link.heal();
    link.forget_requests();
    sleep(D).await;
    assert_eq!(link.count(Verb::Apply), 0, "nothing is written past the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_late_renewal_or_release_never_touches_a_successor() {
    for recreated in [false, true] {
        for release in [false, true] {
            let world = world();
            let guard = world.lock.acquire().await.unwrap();
            // The next write of the old holder arrives a minute late.
            world.link.inject(Fault::delay_before(Duration::from_secs(60)).on(Verb::Apply));
            let old = guard.hold().clone();
            let kept = if release {
                drop(guard);
                None
            } else {
                sleep(Duration::from_secs(6)).await;
                Some(guard)
            };
            if recreated {
                world.server.delete("default", NAME);
            }
            let successor = connect(&world.server).1.acquire().await.unwrap();
            assert!(!old.is_held(), "the old holder had stopped before");
            sleep(Duration::from_secs(120)).await;
            assert!(successor.is_held(), "recreated: {recreated}, release: {release}");
            assert_eq!(world.holder().as_deref(), Some(successor.holder_identity()));
            drop(kept);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_cancelled_on_the_wire_does_not_stay() {
    // The claim arrives late, long after nobody waits for it any more.
    for (arrives, exists) in [(0, true), (0, false), (8, true), (8, false)] {
        let world = world();
        if exists {
            connect(&world.server).1.acquire().await.unwrap().release().await.unwrap();
        }
        let fault = match arrives {
            0 => Fault::lose_reply(),
            late => Fault::delay_before(Duration::from_secs(late)),
        };
        world.link.inject(fault.on_any(&[Verb::Update, Verb::Apply]).times(1));
        assert!(timeout(Duration::from_secs(1), world.lock.acquire()).await.is_err());
        world.lock.shutdown().await.unwrap();
        for _ in 0..10 {
            assert_eq!(world.holder(), None, "arriving after {arrives} s, existing: {exists}");
            sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_wake_up_is_lost_when_the_watch_fails() {
    type Way = (&'static str, fn(&Link), Duration);
    let seconds = Duration::from_secs;
    let ways: [Way; 6] = [
        // Dead connections show only by their silence.
        ("muted", Link::mute_watches, D),
        ("events dropped", |link| link.inject(Fault::drop_events().on(Verb::Watch)), D),
        ("ended", Link::end_watches, seconds(1)),
        ("reset", Link::reset_watches, seconds(1)),
        (
            "gone",
            |link| {
                link.inject(Fault::status(410).on(Verb::Watch));
                link.end_watches();
            },
            seconds(2),
        ),
        (
            "hanging",
            |link| {
                link.inject(Fault::hang().on(Verb::Watch));
                link.end_watches();
            },
            // One request timeout, and a pause.
            seconds(5),
        ),
    ];
    for (name, fail, bound) in ways {
        let world = world();
        let guard = connect(&world.server).1.acquire().await.unwrap();
        let waiting = tokio::spawn({
            let lock = world.lock.clone();
            async move { lock.acquire().await }
        });
        sleep(Duration::from_secs(7)).await;
        fail(&world.link);
        sleep(Duration::from_secs(7)).await;
        guard.release().await.unwrap();
        let acquired = timeout(bound, waiting).await;
        acquired.unwrap_or_else(|_| panic!("{name}: stuck")).unwrap().unwrap().release().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_into_the_future_does_not_hide_a_release() {
    let world = world();
    let holder = connect(&world.server).1;
    world.server.put(
        serde_json::from_value(serde_json::json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": NAME, "namespace": "default" },
            "spec": { "holderIdentity": "years", "leaseDurationSeconds": 1_000_000_000 },
        }))
        .unwrap(),
    );
    let waiting = tokio::spawn({
        let lock = world.lock.clone();
        async move { lock.acquire().await }
    });
    sleep(Duration::from_secs(1)).await;
    // As after a restore of etcd: numbers start over, and the open watch waits for a future that is far away.
    world.link.mute_watches();
    world.set_holder("");
    drop(
        timeout(Duration::from_secs(60), waiting)
            .await
            .expect("the watch was trusted blindly")
            .unwrap()
            .unwrap(),
    );
    drop(holder);
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_watch_died_opens_a_new_one() {
    let world = world();
    let guard = world.lock.acquire().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    world.link.mute_watches();
    // The renewals at 5 s and 10 s show that it is dead.
    sleep(Duration::from_millis(10_500)).await;
    let stolen = Instant::now();
    world.set_holder("them");
    guard.lost().await;
    assert!(stolen.elapsed() < Duration::from_millis(100), "after {:?}", stolen.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_followed_by_a_takeover_to_the_millisecond() {
    let world = world();
    let (link, lock) = connect(&world.server);
    let started = Instant::now();
    let _guard = lock.acquire().await.unwrap();
    let waiting = tokio::spawn(async move { world.lock.acquire().await });
    // The last renewal that gets through is sent at 10 s.
    sleep(Duration::from_secs(12)).await;
    link.inject(Fault::hang());
    let _successor = waiting.await.unwrap().unwrap();
    let takeover = started.elapsed();
    assert!(takeover <= Duration::from_secs(10) + D + 2 * GRANULARITY, "late, after {takeover:?}");
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_shuts_down_fires_the_token_and_expires_the_lease() {
    let world = world();
    let server = world.server.clone();
    let guard = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let guard = runtime.block_on(async { connect(&server).1.acquire().await.unwrap() });
        runtime.shutdown_background();
        guard
    })
    .join()
    .unwrap();
    assert!(guard.token().is_cancelled() && !guard.is_held());
    assert_eq!(guard.lost().await, LossReason::TaskEnded);
    assert!(world.holder().is_some(), "nobody was left to release it");
    let release = guard.release().await;
    assert!(matches!(release, Err(ReleaseError::Lost { reason: LossReason::TaskEnded, .. })), "{release:?}");
    drop(world.lock.acquire().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn acquiring_waits_for_a_server_that_was_there_before() {
    let World { link, lock, .. } = world();
    lock.acquire().await.unwrap().release().await.unwrap();
    link.inject(Fault::refuse());
    let waiting = tokio::spawn(async move { lock.acquire().await });
    sleep(Duration::from_secs(3_600)).await;
    assert!(!waiting.is_finished());
    link.heal();
    drop(waiting.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_tells_what_went_wrong_last() {
    let World { link, lock, .. } = world();
    link.inject(Fault::status(500));
    let error = lock.acquire_timeout(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { last: Some(_), .. }), "{error:?}");
    assert!(matches!(lock.try_acquire().await, Err(TryAcquireError::Request(_))));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_machine_wakes_up_to_find_the_lock_lost() {
    let (server, machine) = (LeaseServer::new(), Machine::new());
    let lock = LeaseLock::builder(server.connect().client(), NAME).machine(&machine).build().unwrap();
    let guard = lock.acquire().await.unwrap();
    let token = guard.token();
    machine.suspended_for(Duration::from_secs(60));
    assert!(!guard.is_held(), "before anything else");
    timeout(Duration::from_secs(1), token.cancelled()).await.unwrap();
    assert!(matches!(guard.lost().await, LossReason::DeadlinePassed { .. }));
}
