//! The lock beside the coordinated leader election (KEP-4355) of a real API server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod support;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube_lease_lock::{AcquireError, EndReason, LeaseLock, LossReason, TryAcquireError};
use serde_json::json;
use support::ControlPlane;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const NAME: &str = "controller";
const STRATEGY: &str = "OldestEmulationVersion";
/// An election of the server takes up to 5 seconds, and the Lease that it gives away lasts for another 5.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
const LEASE_DURATION: Duration = Duration::from_secs(3);

/// A candidate of the server's election, which answers each ping.
struct Candidate(JoinHandle<()>);

impl Drop for Candidate {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Candidate {
    async fn stand(client: Client, namespace: &str, name: &'static str) -> Self {
        let kind = GroupVersionKind::gvk("coordination.k8s.io", "v1beta1", "LeaseCandidate");
        let resource = ApiResource::from_gvk(&kind);
        let candidates: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
        let candidate = json!({
            "apiVersion": "coordination.k8s.io/v1beta1", "kind": "LeaseCandidate",
            "metadata": { "name": name },
            "spec": {
                "leaseName": NAME, "binaryVersion": "1.0.0", "emulationVersion": "1.0.0",
                "strategy": STRATEGY, "renewTime": MicroTime(Timestamp::now()),
            },
        });
        let candidate = serde_json::from_value(candidate).unwrap();
        candidates.create(&PostParams::default(), &candidate).await.expect("a LeaseCandidate created");
        Self(tokio::spawn(async move {
            loop {
                let renewal = json!({ "spec": { "renewTime": MicroTime(Timestamp::now()) } });
                let _ = candidates.patch(name, &PatchParams::default(), &Patch::Merge(renewal)).await;
                sleep(Duration::from_secs(1)).await;
            }
        }))
    }
}

struct Fixture {
    plane: ControlPlane,
    namespace: String,
    leases: Api<Lease>,
}

impl Fixture {
    async fn new() -> Self {
        let plane = ControlPlane::start_coordinated().await;
        let namespace = plane.fresh_namespace().await;
        let leases = Api::namespaced(plane.client().await, &namespace);
        Self { plane, namespace, leases }
    }

    async fn lock(&self) -> LeaseLock {
        let builder = LeaseLock::builder(self.plane.client().await, NAME).namespace(&self.namespace);
        builder.identity("tester").lease_duration(LEASE_DURATION).build().unwrap()
    }

    async fn candidate(&self, name: &'static str) -> Candidate {
        Candidate::stand(self.plane.client().await, &self.namespace, name).await
    }

    async fn spec(&self) -> LeaseSpec {
        self.leases.get(NAME).await.unwrap().spec.unwrap()
    }

    async fn until(&self, what: &str, reached: impl Fn(&LeaseSpec) -> bool) {
        let waiting = async {
            while !reached(&self.spec().await) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = timeout(STEP_TIMEOUT, waiting).await.is_ok();
        assert!(in_time, "not {what}: {:?}", self.spec().await);
    }
}

#[track_caller]
fn assert_coordinated(error: &AcquireError) {
    assert!(matches!(error, AcquireError::Coordinated { strategy, .. } if strategy == STRATEGY), "{error:?}");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn an_election_steps_aside_for_the_choice_of_the_coordinator_and_leaves_the_lease_alone() {
    let fixture = Fixture::new().await;
    let lock = fixture.lock().await;
    let mut election = lock.elect().unwrap();
    let hold = timeout(STEP_TIMEOUT, election.changed()).await.unwrap().unwrap().unwrap();
    sleep(2 * LEASE_DURATION).await;
    assert!(hold.is_held());

    let candidate = fixture.candidate("candidate").await;
    let ended = timeout(STEP_TIMEOUT, hold.ended()).await.unwrap();
    let EndReason::Lost(LossReason::NotPreferred { preferred, .. }) = &ended else { panic!("{ended:?}") };
    assert_eq!(preferred, "candidate");
    let chosen = |spec: &LeaseSpec| spec.holder_identity.as_deref() == Some("candidate");
    fixture.until("given to the candidate", chosen).await;
    assert_coordinated(&election.last_error().unwrap());

    // The candidate never renews the Lease, so the Lease is expired from now on, and later free.
    drop(candidate);
    let spec = fixture.spec().await;
    sleep(Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap()).unwrap() + 2)).await;
    let other = fixture.lock().await;
    for _ in 0..2 {
        let error = other.try_acquire().await.unwrap_err();
        let TryAcquireError::Acquire(error) = &error else { panic!("{error:?}") };
        assert_coordinated(error);
        assert_coordinated(&timeout(STEP_TIMEOUT, other.acquire()).await.unwrap().unwrap_err());
        let empty = json!({ "spec": { "holderIdentity": "" } });
        fixture.leases.patch(NAME, &PatchParams::default(), &Patch::Merge(empty)).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    let ours =
        |spec: &LeaseSpec| spec.holder_identity.as_ref().is_some_and(|holder| holder.starts_with("tester"));
    assert!(!ours(&fixture.spec().await), "{:?}", fixture.spec().await);
    assert_eq!(fixture.spec().await.strategy.as_deref(), Some(STRATEGY));
    election.stop().await.unwrap();
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_plain_lock_keeps_its_hold_until_it_releases_it_to_the_coordinator() {
    let fixture = Fixture::new().await;
    let guard = fixture.lock().await.acquire().await.unwrap();
    let _candidate = fixture.candidate("candidate").await;
    fixture.until("marked", |spec| spec.preferred_holder.as_deref() == Some("candidate")).await;
    sleep(3 * LEASE_DURATION).await;
    assert!(guard.is_held());
    let spec = fixture.spec().await;
    assert_eq!(spec.holder_identity.as_deref(), Some(guard.holder_identity()));
    assert_eq!(
        spec.preferred_holder.as_deref(),
        Some("candidate"),
        "renewals keep what the coordinator wrote"
    );
    guard.release().await.unwrap();
    let chosen = |spec: &LeaseSpec| spec.holder_identity.as_deref() == Some("candidate");
    fixture.until("given to the candidate", chosen).await;
}
