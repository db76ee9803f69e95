//! GET and LIST, from any version, with selectors.

use serde_json::json;

use crate::pair::{Pair, compare};
use crate::request::{delete, get, held, lease, list, merge, post};

async fn three_leases(pair: &mut Pair) {
    pair.send(post(lease(
        json!({ "name": "x", "labels": { "a": "1", "b": "" } }),
        json!({ "holderIdentity": "a" }),
    )))
    .await;
    pair.send(post(lease(json!({ "name": "y", "labels": { "a": "2" } }), json!({})))).await;
    pair.send(post(held("z", "a"))).await;
    pair.send_as("x", merge("x", json!({ "spec": { "holderIdentity": "b" } }))).await;
    pair.wait_for_caches().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn reads_from_any_version() {
    compare(async |pair| {
        three_leases(pair).await;
        let mut reads = Vec::new();
        for version in
            ["", "0", "1", "<x.rv>", "<x.rv>000000", "nonsense", "-1", "1.5", "99999999999999999999999"]
        {
            let query = format!("resourceVersion={version}");
            reads.extend([get("x"), get("missing"), list()].map(|read| read.query(&query)));
            for how in ["NotOlderThan", "Exact", "nonsense"] {
                // Lists of the past are left out, because our server does not support them.
                if how == "Exact" && matches!(version, "1" | "<x.rv>000000") {
                    continue;
                }
                let list = list().query(&query).query(&format!("resourceVersionMatch={how}"));
                reads.extend([list.clone(), list.query("fieldSelector=metadata.name%3Dx")]);
            }
        }
        pair.send_all(reads).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn lists_with_selectors() {
    compare(async |pair| {
        three_leases(pair).await;
        for selector in [
            "metadata.name%3Dx",
            "metadata.name%3D%3Dx",
            "metadata.name!%3Dx",
            "metadata.name%3Dmissing",
            "metadata.name%3DX_",
            "metadata.name%3Dx,metadata.name%3Dy",
            "metadata.namespace%3D<ns>",
            "metadata.namespace%3Ddefault",
            "metadata.name%3Dx,metadata.namespace%3D<ns>",
            "metadata.name%3D",
            "metadata.name",
            "spec.holderIdentity%3Da",
            "nonsense%3Da",
            ",",
            "",
        ] {
            pair.case(selector);
            pair.send(list().query(&format!("fieldSelector={selector}"))).await;
        }
        for selector in [
            "a%3D1",
            "a%3D%3D1",
            "a!%3D1",
            "a",
            "!a",
            "a+in+(1,2)",
            "a+notin+(1)",
            "a+in+(1),b",
            "b%3D",
            "a%3D1,b",
            "missing",
            "a%3D1%3D2",
            "a+in+1",
            "a in (",
            "(",
            "a b",
            "-%3D1",
            "a%3D-",
            "",
            ",",
            "a>0",
            "a<2",
            "a>x",
        ] {
            let selector = selector.replace(' ', "%20").replace('>', "%3E").replace('<', "%3C");
            pair.case(selector.clone());
            pair.send(list().query(&format!("labelSelector={selector}"))).await;
        }
        pair.case("both selectors");
        pair.send(list().query("labelSelector=a&fieldSelector=metadata.name%3Dy")).await;
        pair.case("of all namespaces");
        pair.send(list().within("").query("fieldSelector=metadata.namespace%3D<ns>")).await;
        pair.case("a list is newer after every change");
        pair.send(delete("y")).await;
        pair.send(list()).await;
    })
    .await;
}

/// Lists in pages are left out, because our server does not support them.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn lists_without_pages() {
    compare(async |pair| {
        three_leases(pair).await;
        for query in [
            "limit=500",
            "limit=3",
            "limit=0",
            "limit=-1",
            "limit=nonsense",
            "limit=500&resourceVersion=0",
            "limit=500&resourceVersion=<x.rv>",
            "limit=500&resourceVersion=<x.rv>&resourceVersionMatch=NotOlderThan",
            "limit=1&fieldSelector=metadata.name%3Dx",
            "timeoutSeconds=1",
            "timeoutSeconds=nonsense",
            "allowWatchBookmarks=true",
            "allowWatchBookmarks=nonsense",
            "pretty=false",
        ] {
            pair.case(query);
            pair.send(list().query(query)).await;
        }
        for accept in
            ["application/json", "*/*", "application/json, */*", "application/json, application/yaml"]
        {
            pair.case(accept);
            pair.send(get("x").header("accept", accept)).await;
            pair.send(list().header("accept", accept)).await;
            pair.send(get("missing").header("accept", accept)).await;
        }
    })
    .await;
}
