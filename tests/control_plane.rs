//! Tests of the control plane that the other tests use.

mod support;

use std::fmt::Debug;
use std::future::ready;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Api, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Client, Error};
use support::ControlPlane;
use tokio::time::timeout;

/// A server that works answers within this time.
const NO_ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn it_knows_its_version() {
    let version = ControlPlane::shared().await.version().await;
    println!("Kubernetes {version}");
    assert!(version.starts_with("v1."), "{version}");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn leases_are_created_read_and_watched() -> Result<(), Error> {
    let plane = ControlPlane::shared().await;
    let leases = leases(plane.client().await, &plane.fresh_namespace().await);

    let created = leases.create(&PostParams::default(), &lease("a")).await?;
    let read = leases.get("a").await?;
    assert_eq!(read, created);

    let params = WatchParams::default().fields("metadata.name=a");
    let events = leases.watch(&params, "0").await?;
    // The watch begins with what its cache has, which may be behind the creation. A bookmark can come first then.
    let mut events = events.try_filter(|event| ready(!matches!(event, WatchEvent::Bookmark(_)))).boxed();
    let first = events.try_next().await?;
    assert!(matches!(&first, Some(WatchEvent::Added(seen)) if *seen == created), "{first:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn each_fresh_namespace_is_new() {
    let plane = ControlPlane::shared().await;
    assert_ne!(plane.fresh_namespace().await, plane.fresh_namespace().await);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_user_has_only_the_permissions_that_were_granted() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    let leases = leases(plane.client_as("reader").await, &namespace);
    assert_code(leases.get("a").await, 403);

    plane.grant(&namespace, "reader", READER).await;
    assert_code(leases.get("a").await, 404);
    assert_code(leases.get("b").await, 403);
    assert_code(leases.create(&PostParams::default(), &lease("a")).await, 403);
}

const READER: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: another}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [a], verbs: [get, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: somebody, namespace: another}]
";

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_restart_keeps_the_data_and_the_address() -> Result<(), Error> {
    let plane = ControlPlane::start().await;
    let leases = leases(plane.client().await, &plane.fresh_namespace().await);
    let created = leases.create(&PostParams::default(), &lease("a")).await?;

    plane.kill().await;
    assert!(leases.get("a").await.is_err(), "a killed API server answered");

    plane.restart().await;
    assert_eq!(leases.get("a").await?, created);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_paused_server_answers_when_it_continues() {
    let plane = ControlPlane::start().await;
    let leases = leases(plane.client().await, &plane.fresh_namespace().await);
    let paused = plane.pause();
    let answer = leases.get("a");
    tokio::pin!(answer);
    assert!(timeout(NO_ANSWER_TIMEOUT, &mut answer).await.is_err(), "a paused API server answered");

    drop(paused);
    assert_code(answer.await, 404);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn etcd_can_be_paused_alone() -> Result<(), Error> {
    let plane = ControlPlane::start_with_separate_etcd().await;
    let client = plane.client().await;
    let leases = leases(client.clone(), &plane.fresh_namespace().await);
    let paused = plane.pause_etcd();
    let (posted, new) = (PostParams::default(), lease("a"));
    let creation = leases.create(&posted, &new);
    tokio::pin!(creation);
    assert!(timeout(NO_ANSWER_TIMEOUT, &mut creation).await.is_err(), "the server wrote without etcd");
    client.apiserver_version().await?;

    drop(paused);
    creation.await.map(drop)
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn it_ends_with_its_standard_input_and_removes_its_folder() {
    let plane = ControlPlane::start().await;
    let data = plane.data();
    assert!(data.exists());
    plane.end().await;
    assert!(!data.exists());
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn it_logs_requests() -> Result<(), Error> {
    let plane = ControlPlane::start_audited().await;
    let namespace = plane.fresh_namespace().await;
    let leases = leases(plane.client_as("counted").await, &namespace);
    assert_code(leases.get("a").await, 403);

    let watch = leases.watch(&WatchParams::default(), "0").await;
    assert_code(watch.map(drop), 403);
    plane.grant(&namespace, "counted", READER).await;
    let params = WatchParams::default().fields("metadata.name=a");
    let _events = leases.watch(&params, "0").await?;

    let mut seen = plane.requests();
    seen.retain(|it| it.user == "counted" && it.resource == "leases");
    let seen: Vec<_> = seen.iter().map(|it| (&*it.verb, it.code)).collect();
    assert_eq!(seen, [("get", 403), ("watch", 403), ("watch", 200)]);
    Ok(())
}

fn leases(client: Client, namespace: &str) -> Api<Lease> {
    Api::namespaced(client, namespace)
}

fn lease(name: &str) -> Lease {
    Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec { holder_identity: Some("somebody".to_owned()), ..LeaseSpec::default() }),
    }
}

#[track_caller]
fn assert_code<T: Debug>(answer: Result<T, Error>, code: u16) {
    match answer {
        Err(Error::Api(status)) => assert_eq!(status.code, code, "{status:?}"),
        other => panic!("not {code} but {other:?}"),
    }
}
