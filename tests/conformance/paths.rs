//! Paths and methods that the API does not have.

use http::Method;
use serde_json::json;

use crate::pair::compare;
use crate::request::{Request, held, post};

const V1: &str = "/apis/coordination.k8s.io/v1";

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn requests_to_unknown_paths() {
    compare(async |pair| {
        pair.send(post(held("x", "a"))).await;
        // The deletion of a whole collection is left out, because our server does not support it.
        let collection = format!("{V1}/namespaces/<ns>/leases/");
        for path in [
            "/nonsense",
            "/apis/nonsense.example.com/v1/leases",
            "/apis/coordination.k8s.io/v7/namespaces/<ns>/leases/x",
            &format!("{V1}/nonsense"),
            &format!("{V1}/namespaces/<ns>/nonsense"),
            &format!("{V1}/namespaces/<ns>/nonsense/x"),
            &format!("{V1}/namespaces/<ns>/leases/x/status"),
            &format!("{V1}/namespaces/<ns>/leases/x/nonsense"),
            &collection,
            &format!("{V1}/namespaces/<ns>/leases/x/"),
            &format!("{V1}/leases/x"),
            &format!("{V1}/namespaces/<ns>"),
        ] {
            for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE, Method::POST] {
                if method == Method::DELETE && path == collection {
                    continue;
                }
                let request = Request::new(method.clone(), path);
                let request = if method == Method::GET { request } else { request.json(json!({})) };
                let kind =
                    if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
                pair.send(request.content_type(kind)).await;
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn requests_by_unsupported_methods() {
    compare(async |pair| {
        for (method, path) in [
            (Method::PUT, "leases"),
            (Method::PATCH, "leases"),
            (Method::POST, "leases/x"),
            (Method::OPTIONS, "leases/x"),
        ] {
            let path = format!("{V1}/namespaces/<ns>/{path}");
            pair.send(
                Request::new(method, &path).json(held("x", "a")).content_type("application/merge-patch+json"),
            )
            .await;
        }
        pair.send(post(held("x", "a")).within("")).await;
        let everywhere = post(lease_in("<ns>")).within("");
        pair.send(everywhere).await;
    })
    .await;
}

fn lease_in(namespace: &str) -> serde_json::Value {
    crate::request::lease(json!({ "name": "x", "namespace": namespace }), json!({}))
}
