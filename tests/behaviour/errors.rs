//! The text of errors: it has the whole chain of causes, and an application that prints the chain repeats nothing.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use kube::client::Body;
use kube_lease_lock::testing::LeaseServer;
use kube_lease_lock::{AcquireError, EndReason, LeaseLock, TryAcquireError};
use tokio::net::TcpListener;

use crate::fixture::{NAME, connect, delete_lease, put_lease};
use crate::support::ControlPlane;

/// The outer one of two causes. Like most errors, it does not repeat the text of its source.
#[derive(Debug, thiserror::Error)]
#[error("tcp connect error")]
struct ConnectError(#[source] io::Error);

type BoxError = Box<dyn Error + Send + Sync>;

fn refused() -> ConnectError {
    ConnectError(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"))
}

/// A lock whose every request fails for a reason that lies deep in a chain of causes.
fn unreachable_lock() -> LeaseLock {
    let service = tower::service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>(refused()) });
    LeaseLock::new(kube::Client::new(service, "default"), NAME).unwrap()
}

/// The text that an application prints if it prints the whole chain.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn assert_names_the_cause_once(message: &str) {
    for part in ["tcp connect error", "connection refused"] {
        assert_eq!(message.matches(part).count(), 1, "{part:?} in {message:?}");
    }
}

/// Each part of the cause stands in the message exactly once, and the sources lead to the root cause.
fn assert_names_the_cause(error: &(dyn Error + 'static)) {
    assert_names_the_cause_once(&error.to_string());
    let mut sources = std::iter::successors(error.source(), |&error| error.source());
    let io = sources.find_map(|source| source.downcast_ref::<io::Error>()).expect("the root cause");
    assert_eq!(io.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test(start_paused = true)]
async fn every_error_names_the_whole_cause_and_leads_to_it() {
    let lock = unreachable_lock();
    assert_names_the_cause(&lock.holder().await.unwrap_err());
    assert_names_the_cause(&lock.try_acquire().await.unwrap_err());
    assert_names_the_cause(&lock.acquire_timeout(Duration::from_secs(1)).await.unwrap_err());
    assert_names_the_cause(&lock.with(async |_| ()).await.unwrap_err());
    let error = lock.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Unreachable { .. }), "{error:?}");
    assert_names_the_cause(&error);
}

#[tokio::test]
async fn a_refused_connection_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    let lock = LeaseLock::new(kube::Client::try_from(config).unwrap(), NAME).unwrap();
    let Err(TryAcquireError::Request(error)) = lock.try_acquire().await else { panic!("nothing listens") };
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_named() {
    let config = kube::Config::new("https://no-such-host.invalid:6443".parse().unwrap());
    let lock = LeaseLock::new(kube::Client::try_from(config).unwrap(), NAME).unwrap();
    let Err(TryAcquireError::Request(error)) = lock.try_acquire().await else { panic!("nobody is there") };
    assert!(error.to_string().contains("dns error"), "{error}");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_certificate_that_is_not_trusted_is_named() {
    let mut config = ControlPlane::shared().await.config().await;
    config.root_cert = None;
    let lock = LeaseLock::new(kube::Client::try_from(config).unwrap(), NAME).unwrap();
    let Err(TryAcquireError::Request(error)) = lock.try_acquire().await else { panic!("nobody is trusted") };
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_loss_names_the_whole_cause_of_the_last_failure() {
    let (link, broken) = (LeaseServer::new().connect(), Arc::new(AtomicBool::new(false)));
    let service = tower::service_fn({
        let (client, broken) = (link.client(), broken.clone());
        move |request: Request<Body>| {
            let (client, broken) = (client.clone(), broken.load(Ordering::SeqCst));
            async move {
                if broken { Err(refused().into()) } else { Ok::<_, BoxError>(client.send(request).await?) }
            }
        }
    });
    let lock = LeaseLock::new(kube::Client::new(service, "default"), NAME).unwrap();
    let guard = lock.acquire().await.unwrap();
    broken.store(true, Ordering::SeqCst);
    assert_names_the_cause_once(&guard.lost().await.to_string());
}

#[tokio::test(start_paused = true)]
async fn no_error_of_a_loss_repeats_itself() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    delete_lease(&server);
    let reason = guard.lost().await;
    assert_eq!(chain(&EndReason::Lost(reason)).matches("deleted").count(), 1);
    let released = guard.release().await.unwrap_err();
    assert_eq!(chain(&released).matches("deleted").count(), 1);
    let lost = lock.with(async |_| {
        delete_lease(&server);
        std::future::pending::<()>().await;
    });
    assert_eq!(chain(&lost.await.unwrap_err()).matches("deleted").count(), 1);

    put_lease(&server, &serde_json::json!({ "holderIdentity": "them", "leaseDurationSeconds": 15 }));
    let held = lock.try_acquire().await.unwrap_err();
    assert_eq!(chain(&held).matches("them").count(), 1);
}
