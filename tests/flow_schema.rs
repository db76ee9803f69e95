//! The `FlowSchema` in `src/running.md` matches every request of the lock.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use kube::api::{Api, DeleteParams, PostParams};
use kube::client::Body;
use kube::{Client, ResourceExt};
use kube_lease_lock::LeaseLock;
use serde_json::json;
use support::ControlPlane;
use tokio::time::{sleep, timeout};

const NAME: &str = "nightly-report";
const USER: &str = "flow-schema-user";
/// Long enough for anything that happens immediately, even on a slow machine.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

/// The flow schema of the page, for the user and the namespace of this test.
fn flow_schema(namespace: &str) -> FlowSchema {
    let page = include_str!("../src/running.md");
    let (_, section) = page.split_once("# Priority of the requests").expect("the section");
    let (_, block) = section.split_once("```yaml\n").expect("the block");
    let yaml = block.split_once("```").expect("its end").0;
    let mut schema: FlowSchema = serde_saphyr::from_str(yaml).expect("a FlowSchema");
    schema.metadata.name = Some(namespace.to_owned());
    let rule = &mut schema.spec.rules.as_mut().unwrap()[0];
    let subject = json!([{ "kind": "User", "user": { "name": USER } }]);
    rule.subjects = serde_json::from_value(subject).unwrap();
    rule.resource_rules.as_mut().unwrap()[0].namespaces = Some(vec![namespace.to_owned()]);
    schema
}

/// The requests of a client, and the flow schema that each of them matched.
#[derive(Clone, Default)]
struct Matched(Arc<Mutex<Vec<(String, String)>>>);

impl Matched {
    /// A client that notes what its requests matched.
    fn client(&self, inner: Client, namespace: &str) -> Client {
        let matched = self.0.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (inner, matched) = (inner.clone(), matched.clone());
            async move {
                let watches = request.uri().query().is_some_and(|query| query.contains("watch="));
                let is_get = *request.method() == Method::GET;
                let method = if is_get && watches { "WATCH".into() } else { request.method().to_string() };
                let response = inner.send(request).await?;
                let uid = response.headers().get("x-kubernetes-pf-flowschema-uid");
                let uid = uid.map_or("none", |uid| uid.to_str().unwrap()).to_owned();
                matched.lock().unwrap().push((method, uid));
                Ok::<_, kube::Error>(response)
            }
        });
        Client::new(service, namespace)
    }

    fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_flow_schema_in_the_documentation_matches_every_request_of_a_lock() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    plane.grant(&namespace, USER, &role()).await;
    let schemas: Api<FlowSchema> = Api::all(plane.client().await);
    let schema = schemas.create(&PostParams::default(), &flow_schema(&namespace)).await.unwrap();
    let uid = schema.uid().unwrap();

    let matched = Matched::default();
    let client = matched.client(plane.client_as(USER).await, &namespace);
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    timeout(EVENT_TIMEOUT, async {
        while !matched.take().iter().any(|(_, effective)| *effective == uid) {
            sleep(Duration::from_millis(50)).await;
            leases.get_opt(NAME).await.unwrap();
        }
    })
    .await
    .expect("the flow schema in effect by now");

    let lock = || {
        let builder = LeaseLock::builder(client.clone(), NAME).namespace(&namespace);
        builder.lease_duration(Duration::from_secs(3)).build().unwrap()
    };
    let (holder, waiter) = (lock(), lock());
    let guard = timeout(EVENT_TIMEOUT, holder.acquire()).await.unwrap().unwrap();
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    // Time for some renewals, with a watch on each side.
    sleep(Duration::from_secs(4)).await;
    guard.release().await.unwrap();
    timeout(EVENT_TIMEOUT, waiting).await.unwrap().unwrap().unwrap().release().await.unwrap();

    let requests = matched.take();
    assert!(requests.iter().all(|(_, matched)| *matched == uid), "{uid}: {requests:?}");
    let methods: BTreeSet<_> = requests.iter().map(|(method, _)| method.as_str()).collect();
    assert_eq!(methods, BTreeSet::from(["GET", "PATCH", "PUT", "WATCH"]));
    schemas.delete(&namespace, &DeleteParams::default()).await.unwrap();
}

/// The permissions of the lock, as a Role.
fn role() -> String {
    let rule = json!({
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [NAME],
        "verbs": ["get", "watch", "create", "update", "patch"],
    });
    json!({ "kind": "Role", "metadata": { "name": "lock" }, "rules": [rule] }).to_string()
}
