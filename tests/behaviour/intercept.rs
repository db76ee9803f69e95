//! Answers that the server of this crate does not give: of proxies, of admission, of API Priority and Fairness.

use std::sync::Arc;

use http::{Request, Response};
use kube::client::Body;
use kube_lease_lock::testing::Link;
use serde_json::json;

/// A client of this link. `intercept` may answer a request in place of the server.
pub(crate) fn client(
    link: &Link,
    intercept: impl Fn(&Request<Body>) -> Option<Response<Body>> + Send + Sync + 'static,
) -> kube::Client {
    let (client, intercept) = (link.client(), Arc::new(intercept));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, intercept) = (client.clone(), intercept.clone());
        async move {
            match intercept(&request) {
                Some(answer) => Ok(answer),
                None => client.send(request).await,
            }
        }
    });
    kube::Client::new(service, "default")
}

/// An answer in plain text.
pub(crate) fn text(code: u16, text: &str) -> Response<Body> {
    Response::builder().status(code).body(Body::from(text.as_bytes().to_vec())).unwrap()
}

/// What the API server answers if admission refuses to create the Lease.
pub(crate) fn forbidden(why: &str) -> Response<Body> {
    let message = format!("leases.coordination.k8s.io \"a-lock\" is forbidden: {why}");
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                "reason": "Forbidden", "details": { "name": "a-lock", "group": "coordination.k8s.io", "kind": "leases" },
                "code": 403 });
    text(403, &status.to_string())
}
