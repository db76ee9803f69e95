//! The permissions in the README are sufficient, and each of them is necessary.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod support;

use std::time::Duration;

use kube::Client;
use kube_lease_lock::{
    AcquireError, CheckError, CreateMode, LeaseLock, LeaseObserver, ObserveError, ObservedHolder,
};
use support::ControlPlane;
use tokio::time::timeout;

const NAME: &str = "nightly-report";
const VERBS: &str = r#"verbs: ["get", "watch", "create", "update", "patch"]"#;
/// Long enough for anything that happens immediately, even on a slow machine.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

/// The YAML block of the README's section on permissions.
fn readme_yaml() -> &'static str {
    let readme = include_str!("../README.md");
    let (_, section) = readme.split_once("## Permissions").expect("the section");
    let (_, block) = section.split_once("```yaml\n").expect("the block");
    block.split_once("```").expect("its end").0
}

fn lock(client: Client, namespace: &str) -> LeaseLock {
    let builder = LeaseLock::builder(client, NAME).namespace(namespace);
    builder.lease_duration(Duration::from_secs(3)).build().unwrap()
}

#[test]
fn the_readme_contains_the_verbs() {
    assert!(readme_yaml().contains(VERBS) && readme_yaml().contains(NAME));
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_permissions_in_the_readme_are_sufficient() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    plane.grant(&namespace, "reporter", readme_yaml()).await;
    let mut locks = Vec::new();
    for _ in 0..2 {
        locks.push(lock(plane.client_as("reporter").await, &namespace));
    }
    let guard = timeout(EVENT_TIMEOUT, locks[0].acquire()).await.unwrap().unwrap();
    let waiter = locks.pop().unwrap();
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    // Time for some renewals, with a watch on each side.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(guard.is_held() && !waiting.is_finished());
    guard.release().await.unwrap();
    timeout(EVENT_TIMEOUT, waiting).await.unwrap().unwrap().unwrap().release().await.unwrap();
    assert_eq!(locks[0].holder().await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn an_error_names_the_missing_permission() {
    let plane = ControlPlane::shared().await;
    for missing in ["get", "create", "update", "patch"] {
        let namespace = plane.fresh_namespace().await;
        if missing == "patch" {
            // A user without the verb `patch` can create a Lease, but cannot claim it. So the Lease has to exist.
            lock(plane.client().await, &namespace).acquire().await.unwrap().release().await.unwrap();
        }
        let user = format!("without-{missing}");
        let yaml = readme_yaml().replace(&format!("\"{missing}\""), "\"list\"");
        plane.grant(&namespace, &user, &yaml).await;
        let lock = lock(plane.client_as(&user).await, &namespace);
        let error = timeout(EVENT_TIMEOUT, lock.acquire()).await.unwrap().unwrap_err();
        assert!(matches!(error, AcquireError::Forbidden(_)), "without {missing}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("cannot {missing} resource")), "without {missing}: {text}");
        assert!(text.contains("needs the verbs get, watch, create, update and patch"), "{text}");
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_lease_that_must_exist_needs_no_permission_to_create() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    lock(plane.client().await, &namespace).acquire().await.unwrap().release().await.unwrap();
    let yaml = readme_yaml().replace("\"create\", \"update\", ", "");
    plane.grant(&namespace, "must-exist", &yaml).await;
    let builder = LeaseLock::builder(plane.client_as("must-exist").await, NAME).namespace(&namespace);
    let lock = builder.create_mode(CreateMode::MustExist).build().unwrap();
    let guard = timeout(EVENT_TIMEOUT, lock.acquire()).await.unwrap().unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_waiter_without_the_verb_watch_polls() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    plane.grant(&namespace, "without-watch", &readme_yaml().replace("\"watch\", ", "")).await;
    let guard = lock(plane.client().await, &namespace).acquire().await.unwrap();
    let waiter = lock(plane.client_as("without-watch").await, &namespace);
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    guard.release().await.unwrap();
    timeout(EVENT_TIMEOUT, waiting).await.unwrap().unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn an_observer_needs_the_verbs_get_and_watch_alone() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    plane.grant(&namespace, "observer", &readme_yaml().replace(VERBS, r#"verbs: ["get", "watch"]"#)).await;
    let observer = |client| LeaseObserver::in_namespace(client, &*namespace, NAME).unwrap();
    let mut observers = vec![observer(plane.client_as("observer").await)];
    plane
        .grant(
            &namespace,
            "poller",
            &readme_yaml()
                .replace(VERBS, r#"verbs: ["get", "list"]"#)
                .replace("nightly-report-lock", "poller"),
        )
        .await;
    observers.push(observer(plane.client_as("poller").await));
    let lock = lock(plane.client().await, &namespace);
    for observer in &mut observers {
        let answer = timeout(EVENT_TIMEOUT, observer.changed()).await.unwrap().unwrap();
        assert!(matches!(answer, ObservedHolder::Free), "{answer:?}");
    }
    for _ in 0..2 {
        let guard = timeout(EVENT_TIMEOUT, lock.acquire()).await.unwrap().unwrap();
        for observer in &mut observers {
            let answer = timeout(EVENT_TIMEOUT, observer.changed()).await.unwrap().unwrap();
            let identity = answer.holder().map(|holder| &*holder.identity);
            assert_eq!(identity, Some(guard.holder_identity()), "{answer:?}");
        }
        guard.release().await.unwrap();
        for observer in &mut observers {
            let answer = timeout(EVENT_TIMEOUT, observer.changed()).await.unwrap().unwrap();
            assert!(matches!(answer, ObservedHolder::Free), "{answer:?}");
        }
    }
    let mut stranger = observer(plane.client_as("stranger").await);
    let answer = timeout(EVENT_TIMEOUT, stranger.changed()).await.unwrap().unwrap();
    let ObservedHolder::Unknown { error: ObserveError::Forbidden(error), .. } = &answer else {
        panic!("{answer:?}");
    };
    assert_eq!(error.verb(), "get");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_check_names_every_missing_permission() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    plane.grant(&namespace, "complete", readme_yaml()).await;
    let report = lock(plane.client_as("complete").await, &namespace).check().await.unwrap();
    assert!(report.reviewed);
    for missing in [&["get"][..], &["watch"], &["create", "update"], &["patch"]] {
        let namespace = plane.fresh_namespace().await;
        let mut yaml = readme_yaml().to_owned();
        for verb in missing {
            yaml = yaml.replace(&format!("\"{verb}\""), "\"list\"");
        }
        let user = format!("lacks-{}", missing.join("-"));
        plane.grant(&namespace, &user, &yaml).await;
        let error = lock(plane.client_as(&user).await, &namespace).check().await.unwrap_err();
        let CheckError::Forbidden { missing: named, .. } = &error else { panic!("{error:?}") };
        assert_eq!(named, missing, "{error}");
    }
}
