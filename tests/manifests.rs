//! The manifests in `examples/manifests` are accepted by a real API server, and their roles are enough for a lock.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod support;

use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::GroupVersionKind;
use kube_lease_lock::LeaseLock;
use serde_json::Value;
use support::ControlPlane;
use tokio::time::timeout;

/// Long enough for anything that happens immediately, even on a slow machine.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

const OPERATOR: &str = include_str!("../examples/manifests/operator.yaml");
const NIGHTLY_REPORT: &str = include_str!("../examples/manifests/nightly-report.yaml");
const FLOW_SCHEMA: &str = include_str!("../examples/manifests/flow-schema.yaml");

/// The objects of a YAML stream.
fn objects(yaml: &str) -> Vec<Value> {
    yaml.split("\n---\n").map(|document| serde_saphyr::from_str(document).expect("an object")).collect()
}

fn kinds(yaml: &str) -> Vec<String> {
    objects(yaml).iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect()
}

/// Applies each object as `kubectl apply` does, and refuses fields that the API server does not know.
async fn apply(plane: &ControlPlane, namespace: Option<&str>, yaml: &str) {
    let client = plane.client().await;
    for object in objects(yaml) {
        let text = |key: &str| object[key].as_str().unwrap();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
            None => Api::all_with(client.clone(), &kind),
        };
        let params =
            PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("test") };
        let name = object["metadata"]["name"].as_str().unwrap();
        let applied = api.patch(name, &params, &Patch::Apply(&object)).await;
        applied.unwrap_or_else(|error| panic!("{} {name}: {error}", text("kind")));
    }
}

/// The service account of the manifest can do all that a lock on the Lease of the same name needs.
async fn its_service_account_can_lock(plane: &ControlPlane, namespace: &str, name: &str) {
    let user = format!("system:serviceaccount:{namespace}:{name}");
    let lock = LeaseLock::builder(plane.client_as(&user).await, name).namespace(namespace).build().unwrap();
    let permitted = async {
        // The authorizer learns of new bindings a moment after they were created.
        while lock.check().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(EVENT_TIMEOUT, permitted).await.unwrap_or_else(|_| panic!("{name} may not lock"));
    timeout(EVENT_TIMEOUT, lock.acquire()).await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_manifests_of_the_operator_are_accepted_and_enough() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    apply(plane, Some(&namespace), OPERATOR).await;
    assert_eq!(
        kinds(OPERATOR),
        ["ServiceAccount", "Role", "RoleBinding", "Deployment", "PodDisruptionBudget"]
    );
    its_service_account_can_lock(plane, &namespace, "operator").await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_manifests_of_the_job_are_accepted_and_enough() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    apply(plane, Some(&namespace), NIGHTLY_REPORT).await;
    assert_eq!(kinds(NIGHTLY_REPORT), ["ServiceAccount", "Role", "RoleBinding", "CronJob"]);
    its_service_account_can_lock(plane, &namespace, "nightly-report").await;
}

/// Whether it matches the requests of a lock, `flow_schema` tests on the same object in the docs.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_flow_schema_is_accepted_and_the_one_in_the_docs() {
    let plane = ControlPlane::shared().await;
    apply(plane, None, FLOW_SCHEMA).await;
    let page = include_str!("../src/running.md");
    let (_, documented) = page.split_once("```yaml\napiVersion: flowcontrol").expect("the block");
    let documented = documented.split_once("```").expect("its end").0;
    assert_eq!(objects(FLOW_SCHEMA), objects(&format!("apiVersion: flowcontrol{documented}")));
}
