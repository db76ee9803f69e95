//! Requests and watches that fail: the answer is right again, or says that it is unknown.

use std::time::Duration;

use futures::FutureExt;
use kube_lease_lock::testing::{Fault, LeaseServer, Link, Verb};
use kube_lease_lock::{LeaseHolder, LeaseObserver, ObserveError, ObservedHolder};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{AT_ONCE, assert_free, assert_held_by, next, observer, within};
use crate::fixture::{
    LEASE_DURATION, NAME, NAMESPACE, RENEW_INTERVAL, acquire, connect, put_lease, set_holder,
};

const READ_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_change_is_told_also_if_the_watch_fails_just_then() {
    type WatchFailure = (&'static str, fn(&Link), Duration);
    let seconds = Duration::from_secs;
    let failures: [WatchFailure; 7] = [
        ("muted", Link::mute_watches, LEASE_DURATION),
        ("events dropped", |link| link.inject(Fault::drop_events().on(Verb::Watch)), LEASE_DURATION),
        ("ended", Link::end_watches, seconds(1)),
        ("reset", Link::reset_watches, seconds(1)),
        (
            "gone",
            |link| {
                link.inject(Fault::status(410).on(Verb::Watch).times(1));
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
            seconds(7),
        ),
        ("late", |link| link.inject(Fault::delay_events(Duration::from_secs(1))), seconds(2)),
    ];
    for (name, fail, bound) in failures {
        let server = LeaseServer::new();
        let guard = acquire(&connect(&server).1).await;
        let (link, mut observer) = observer(&server);
        sleep(Duration::from_secs(37)).await;
        assert_held_by(&next(&mut observer).await, "tester");
        fail(&link);
        sleep(AT_ONCE).await;
        guard.release().await.unwrap();
        let released = Instant::now();
        let answer = within(bound, &mut observer).await;
        assert!(matches!(answer, ObservedHolder::Free), "{name}: {answer:?} after {:?}", released.elapsed());
        // It follows again at once, as soon as the watch has been replaced.
        link.heal();
        sleep(Duration::from_secs(120)).await;
        assert_eq!(link.open_watches(), 1, "{name}");
        server.take(NAMESPACE, NAME, "them");
        assert_held_by(&next(&mut observer).await, "them");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_begins_anew_after_a_410_misses_nothing() {
    let server = LeaseServer::new();
    server.take(NAMESPACE, NAME, "them");
    let (link, mut observer) = observer(&server);
    assert_held_by(&next(&mut observer).await, "them");
    link.inject(Fault::refuse().on(Verb::Get));
    link.inject(Fault::refuse().on(Verb::Watch).times(1));
    link.reset_watches();
    for transitions in 0..100 {
        server.edit(NAMESPACE, NAME, |lease| {
            lease.spec.as_mut().unwrap().lease_transitions = Some(transitions);
        });
    }
    server.compact();
    server.take(NAMESPACE, NAME, "another");
    sleep(Duration::from_secs(2)).await;
    link.heal();
    while observer.holder().holder().is_none_or(|holder| holder.name() != "another") {
        within(Duration::from_secs(10), &mut observer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_is_cut_off_says_so_and_since_when() {
    let server = LeaseServer::new();
    let _guard = acquire(&connect(&server).1).await;
    let (link, mut observer) = observer(&server);
    sleep(Duration::from_secs(62)).await;
    assert_held_by(&next(&mut observer).await, "tester");
    let last = observer.holder().holder().unwrap().clone();
    link.cut();
    let answer = within(LEASE_DURATION + READ_TIMEOUT, &mut observer).await;
    let ObservedHolder::Unknown { since, last: known, error, .. } = &answer else { panic!("{answer:?}") };
    assert!(matches!(error, ObserveError::Request(_)), "{error:?}");
    assert_eq!(known.as_ref().map(|known| &known.identity), Some(&last.identity));
    assert_eq!(answer.last_known().map(LeaseHolder::name), Some("tester"));
    // The last event was a renewal, or a bookmark after it.
    let after_renewal = since.duration_since(last.renewed.unwrap()).unwrap();
    assert!(after_renewal < RENEW_INTERVAL, "{since:?} and {last:?}");
    // For however long it lasts: nothing is told that is not known.
    sleep(Duration::from_secs(600)).await;
    assert!(observer.changed().now_or_never().is_none());
    link.mend();
    assert_held_by(&within(Duration::from_secs(10) + READ_TIMEOUT, &mut observer).await, "tester");
}

#[tokio::test(start_paused = true)]
async fn a_holder_of_a_long_lease_is_unknown_half_a_minute_after_a_cut() {
    let server = LeaseServer::new();
    put_lease(&server, &json!({ "holderIdentity": "them", "leaseDurationSeconds": 86_400 }));
    let (link, mut observer) = observer(&server);
    assert_held_by(&next(&mut observer).await, "them");
    sleep(Duration::from_secs(300)).await;
    link.cut();
    let answer = within(Duration::from_secs(30) + READ_TIMEOUT, &mut observer).await;
    assert!(matches!(answer, ObservedHolder::Unknown { .. }), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn an_observer_without_the_permission_to_read_says_so_and_tries_again_ever_less_often() {
    let server = LeaseServer::new();
    server.take(NAMESPACE, NAME, "them");
    let link = server.connect();
    link.inject(Fault::status(403).on(Verb::Get));
    let mut observer = LeaseObserver::new(link.client(), NAME).unwrap();
    assert!(matches!(observer.holder(), ObservedHolder::Pending));
    let answer = next(&mut observer).await;
    let ObservedHolder::Unknown { last: None, error: ObserveError::Forbidden(_), .. } = &answer else {
        panic!("{answer:?}");
    };
    sleep(Duration::from_secs(600)).await;
    let reads = link.count(Verb::Get);
    assert!((20..=60).contains(&reads), "{reads} reads in ten minutes");
    assert!(observer.changed().now_or_never().is_none(), "the same error is no change");
    link.heal();
    assert_held_by(&within(Duration::from_secs(30), &mut observer).await, "them");
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_withdrawn_later_is_told_after_the_next_read() {
    let server = LeaseServer::new();
    put_lease(&server, &json!({ "holderIdentity": "them", "leaseDurationSeconds": 86_400 }));
    let (link, mut observer) = observer(&server);
    assert_held_by(&next(&mut observer).await, "them");
    link.inject(Fault::status(403));
    link.end_watches();
    let answer = within(Duration::from_secs(35), &mut observer).await;
    let ObservedHolder::Unknown { last: Some(_), error, .. } = &answer else { panic!("{answer:?}") };
    let text = error.to_string();
    assert!(text.contains("an observer needs the verbs get and watch"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_server_is_asked_again_ever_less_often() {
    let server = LeaseServer::new();
    let (link, mut observer) = observer(&server);
    assert_free(&next(&mut observer).await);
    link.inject(Fault::refuse());
    link.reset_watches();
    within(Duration::from_secs(40), &mut observer).await;
    link.forget_requests();
    sleep(Duration::from_secs(600)).await;
    let requests = link.requests().len();
    assert!((100..=300).contains(&requests), "{requests} requests in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_overtakes_others_is_not_taken_back() {
    let server = LeaseServer::new();
    server.take(NAMESPACE, NAME, "first");
    let (link, mut observer) = observer(&server);
    assert_held_by(&next(&mut observer).await, "first");
    // A read at the expiry of the record, whose answer takes two seconds.
    link.inject(Fault::delay_after(Duration::from_secs(2)).on(Verb::Get).times(1));
    sleep(LEASE_DURATION + Duration::from_secs(1)).await;
    server.take(NAMESPACE, NAME, "second");
    assert_held_by(&next(&mut observer).await, "second");
    sleep(Duration::from_secs(3)).await;
    assert!(observer.changed().now_or_never().is_none(), "the late answer of the read shows an older state");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_set_back_is_noticed_within_half_a_minute() {
    let server = LeaseServer::new();
    put_lease(&server, &json!({ "holderIdentity": "old", "leaseDurationSeconds": 86_400 }));
    let backup = server.revision();
    for number in 0..20 {
        set_holder(&server, &format!("new-{number}"));
    }
    let (link, mut observer) = observer(&server);
    assert_held_by(&next(&mut observer).await, "new-19");
    sleep(Duration::from_secs(100)).await;
    // The watch into the future is open, and sees nothing.
    link.inject(Fault::refuse().on(Verb::Get).times(1));
    server.restore(backup);
    loop {
        let answer = within(Duration::from_secs(35), &mut observer).await;
        if answer.holder().is_some_and(|holder| holder.name() == "old") {
            break;
        }
    }
    sleep(Duration::from_secs(60)).await;
    set_holder(&server, "newest");
    assert_held_by(&next(&mut observer).await, "newest");
}
