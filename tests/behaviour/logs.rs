//! The logs, whose messages and fields are part of the API.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Machine, Verb};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::fixture::{Fixture, builder, connect, delete_lease};

/// A dispatcher that never ends and keeps nothing. If the dispatcher of one test were the only one, `tracing` would ask
/// the thread that first reaches a log call, which may run another test without a dispatcher, and then disable that
/// call for all.
static SECOND_DISPATCHER: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

/// Keeps each event as `level message: field field`, and the fields of the span it was in.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

type Line = (String, BTreeSet<String>);

#[derive(Default)]
struct Fields {
    message: String,
    names: BTreeSet<String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.names.insert(field.name().to_owned());
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields.names);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !event.metadata().target().starts_with("lease_lock") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let names: Vec<_> = fields.names.into_iter().collect();
        let level = event.metadata().level().as_str().to_lowercase();
        let line = format!("{level} {}: {}", fields.message, names.join(" "));
        let span = context.event_span(event).filter(|span| span.name() == "lease_lock");
        let span = span.and_then(|span| span.extensions().get::<BTreeSet<String>>().cloned());
        self.0.lock().unwrap().push((line, span.unwrap_or_default()));
    }
}

impl Log {
    /// Keeps the events of this thread until the guard is dropped: other tests run on threads of their own.
    fn start() -> (Self, DefaultGuard) {
        LazyLock::force(&SECOND_DISPATCHER);
        let log = Self::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        (log, guard)
    }

    fn assert_has(&self, expected: &[&str]) {
        let events = std::mem::take(&mut *self.0.lock().unwrap());
        for expected in expected {
            let event = events.iter().find(|(line, _)| line.trim_end() == *expected);
            let (_, span) = event.unwrap_or_else(|| panic!("no {expected:?} in {events:#?}"));
            let named = ["identity", "lease", "namespace"].map(str::to_owned);
            assert_eq!(*span, BTreeSet::from(named), "the span of {expected:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_of_a_lock_is_logged() {
    let (log, _default) = Log::start();
    let Fixture { server, link, lock } = Fixture::new();
    let (other, waiter) = connect(&server);

    let guard = lock.acquire().await.unwrap();
    link.inject(Fault::status(500).on(Verb::Apply).times(1));
    tokio::time::sleep(Duration::from_secs(12)).await;
    guard.release().await.unwrap();
    log.assert_has(&[
        "info acquired: fencing_token lease transitions waited",
        "debug renewed: lease resource_version",
        "warn renewal failed: error lease left",
        "info released: lease",
    ]);

    let guard = lock.acquire().await.unwrap();
    other.inject(Fault::status(500).on(Verb::Get).times(1));
    assert!(waiter.acquire_timeout(Duration::from_secs(5)).await.is_err());
    delete_lease(&server);
    guard.lost().await;
    log.assert_has(&[
        "warn request failed: error lease pause",
        "info waiting: free_in holder lease ticket",
        "warn lost: lease reason",
    ]);
    drop(guard);

    let guard = lock.acquire().await.unwrap();
    link.inject(Fault::refuse());
    assert!(guard.release().await.is_err());
    log.assert_has(&["warn release failed: error lease"]);
}

/// The log tells a process that stood still from a server that was silent.
#[tokio::test(start_paused = true)]
async fn a_loss_says_whether_the_process_stood_still() {
    for (stands_still, expected) in
        [(true, "warn lost: lease reason stood_still"), (false, "warn lost: lease reason")]
    {
        let (log, _default) = Log::start();
        let machine = Machine::new();
        let (link, builder) = builder(&LeaseServer::new());
        let lock = builder.machine(&machine).build().unwrap();
        let guard = lock.acquire().await.unwrap();
        if stands_still {
            machine.freeze();
        } else {
            link.cut();
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        machine.thaw();
        guard.lost().await;
        log.assert_has(&[expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_one_warning_a_minute() {
    let (log, _default) = Log::start();
    let (link, lock) = connect(&LeaseServer::new());
    link.inject(Fault::refuse());
    assert!(lock.acquire_timeout(Duration::from_secs(600)).await.is_err());
    let events = std::mem::take(&mut *log.0.lock().unwrap());
    let count = |message: &str| events.iter().filter(|(line, _)| line.contains(message)).count();
    let (warnings, failures) = (count("warn request failed:"), count("request failed"));
    assert!((9..=11).contains(&warnings) && failures > 100, "{warnings} warnings, {failures} failures");
}

#[tokio::test(start_paused = true)]
async fn a_refused_election_is_logged_once() {
    let (log, _default) = Log::start();
    let (link, lock) = connect(&LeaseServer::new());
    link.inject(Fault::status(403));
    let election = lock.elect().unwrap();
    let refused = "error election refused: error lease pause";
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(link.count(Verb::Get) > 10);
    let logged = log.0.lock().unwrap().iter().filter(|(line, _)| line == refused).count();
    assert_eq!(logged, 1);
    log.assert_has(&[refused]);

    link.heal();
    link.inject(Fault::status(422));
    tokio::time::sleep(Duration::from_secs(60)).await;
    log.assert_has(&[refused]);
    assert!(!election.is_leader());
}

#[tokio::test(start_paused = true)]
async fn an_observer_logs_an_outage_and_a_forbidden_watch_once_each() {
    let (log, _default) = Log::start();
    let (link, lock) = connect(&LeaseServer::new());
    let _observer = lock.observe().unwrap();
    link.inject(Fault::status(403).on(Verb::Watch));
    tokio::time::sleep(Duration::from_secs(600)).await;
    link.inject(Fault::refuse());
    tokio::time::sleep(Duration::from_secs(600)).await;
    let events = std::mem::take(&mut *log.0.lock().unwrap());
    let warnings: Vec<_> =
        events.iter().map(|(line, _)| line).filter(|line| line.starts_with("warn")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings[0].contains("watching the Lease is forbidden"), "{warnings:#?}");
    assert_eq!(warnings[1], "warn request failed: error lease pause");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_broken_is_logged() {
    let (log, _default) = Log::start();
    let Fixture { server, lock, .. } = Fixture::new();
    server.take("default", "a-lock", "them");
    let held = lock.holder().await.unwrap().unwrap();
    lock.break_hold(&held).await.unwrap();
    log.assert_has(&["warn hold broken: holder lease"]);
}
