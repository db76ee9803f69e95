//! Requests that are not for Leases: without another service, and with one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{DeleteParams, ListParams, LogParams, WatchParams};
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::testing::response::{Response, ResponseBody};
use crate::testing::{Fault, Verb};

const SECOND: Duration = Duration::from_secs(1);
const ONE_DAY: Duration = Duration::from_secs(24 * 3600);

/// A service that serves nothing but Pods. A watch tells the number of Pods whenever it changes.
struct Mock {
    link: Link,
    client: Client,
    pods: watch::Sender<usize>,
    /// Method, path, query and body of each request.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Mock {
    fn new() -> Self {
        let (pods, changes) = watch::channel(1);
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let service = tower::service_fn({
            let seen = seen.clone();
            move |request| respond(request, seen.clone(), changes.clone())
        });
        let link = LeaseServer::new().connect();
        let client = link.client_with(Client::new(service, "default"));
        Self { link, client, pods, seen }
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    fn leases(&self) -> Api<Lease> {
        Api::default_namespaced(self.client.clone())
    }

    async fn list(&self) -> Result<usize, Error> {
        Ok(self.pods().list(&ListParams::default()).await?.items.len())
    }

    async fn watch(&self) -> impl Stream<Item = Result<String, Error>> + Unpin + use<> {
        let events = self.pods().watch(&WatchParams::default(), "0").await.unwrap().boxed();
        events.map(|event| {
            Ok(match event? {
                kube::api::WatchEvent::Modified(pod) => pod.metadata.name.unwrap(),
                other => panic!("{other:?}"),
            })
        })
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn log(&self) -> Vec<String> {
        self.link.requests().iter().map(ToString::to_string).collect()
    }
}

async fn respond(
    request: Request<Body>,
    seen: Arc<Mutex<Vec<String>>>,
    mut changes: watch::Receiver<usize>,
) -> std::io::Result<http::Response<ResponseBody>> {
    let (parts, body) = request.into_parts();
    let body = body.collect_bytes().await.unwrap();
    seen.lock().unwrap().push(format!("{} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body)));
    let pod = |number: usize| json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": format!("pod-{number}") } });
    let query = parts.uri.query().unwrap_or_default();
    if query.contains("watch=true") {
        changes.mark_unchanged();
        let events = futures::stream::unfold(changes, move |mut changes| async move {
            changes.changed().await.ok()?;
            let event = json!({ "type": "MODIFIED", "object": pod(*changes.borrow_and_update()) });
            Some((Ok(format!("{event}\n").into_bytes()), changes))
        });
        return Ok(Response::stream(events).into());
    }
    if query.contains("follow=true") {
        let lines = futures::stream::unfold(0_u8, |line| async move {
            sleep(SECOND).await;
            Some((Ok(vec![b'0' + line, b'\n']), line + 1))
        });
        return Ok(Response::stream(lines).into());
    }
    if parts.method == http::Method::DELETE {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    }
    if parts.method == http::Method::POST {
        return Ok(Response::json(201, &pod(0)).into());
    }
    let items: Vec<_> = (0..*changes.borrow_and_update()).map(pod).collect();
    let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items });
    Ok(Response::json(200, &list).into())
}

#[tokio::test(start_paused = true)]
async fn without_another_service_they_are_refused_with_words() {
    let fixture = Fixture::new();
    let client = fixture.link.client();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let status = refusal(pods.list(&ListParams::default()).await);
    assert_eq!((status.code, &*status.reason), (501, "NotImplemented"));
    let words = "not supported by the in-process server: GET /api/v1/namespaces/default/pods.";
    assert!(status.message.starts_with(words) && status.message.contains("Link::client_with"), "{status:?}");

    assert_eq!(refusal(client.apiserver_version().await).code, 501);
    assert_eq!(refusal(client.list_core_api_versions().await).code, 501);
    assert_eq!(refusal(client.list_api_groups().await).code, 501);
    assert_eq!(refusal(client.list_api_group_resources("apps/v1").await).code, 501);
    assert_eq!(refusal(client.list_api_group_resources("coordination.k8s.io/v1").await).code, 501);
    let log: Vec<_> = fixture.link.requests().iter().map(|request| format!("{request:?}")).collect();
    assert_eq!(
        log,
        [
            "List /api/v1/namespaces/default/pods -> 501",
            "Get /version -> 501",
            "Get /api -> 501",
            "Get /apis -> 501",
            "Get /apis/apps/v1 -> 501",
            "Get /apis/coordination.k8s.io/v1 -> 501",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_somebody_has_to_define_is_not_there() {
    let fixture = Fixture::new();
    let request = Request::get("/apis/example.com/v1/crons").body(Vec::new()).unwrap();
    let status = refusal(fixture.link.client().request::<Value>(request).await);
    assert_eq!((status.code, &*status.reason), (404, "Failed to parse error data"));
    assert_eq!(fixture.last_status(), Some(404));
}

#[tokio::test(start_paused = true)]
async fn faults_hit_them() {
    let fixture = Fixture::new();
    let pods: Api<Pod> = Api::default_namespaced(fixture.link.client());
    fixture.link.inject(Fault::status(403).on(Verb::Get).times(1));
    let status = refusal(pods.get("x").await);
    assert_eq!(
        status.message,
        "pods \"x\" is forbidden: User \"system:serviceaccount:default:default\" cannot get resource \"pods\" in API \
         group \"\" in the namespace \"default\""
    );
    assert_eq!(status.details.unwrap().kind, "pods");
    fixture.link.inject(Fault::hang());
    assert!(timeout(ONE_DAY, pods.get("x")).await.is_err());
    assert!(timeout(ONE_DAY, fixture.link.client().apiserver_version()).await.is_err());
    assert_eq!(fixture.link.count(Verb::Get), 3);
}

#[tokio::test(start_paused = true)]
async fn another_service_serves_them() {
    let mock = Mock::new();
    assert_eq!(mock.list().await.unwrap(), 1);
    mock.leases().create(&PostParams::default(), &lease("x", json!({}))).await.unwrap();
    assert!(mock.leases().get_opt("x").await.unwrap().is_some());
    let new = serde_json::from_value(json!({ "metadata": { "name": "p" } })).unwrap();
    mock.pods().create(&PostParams::default(), &new).await.unwrap();
    let error = mock.pods().delete("p", &DeleteParams::default()).await.unwrap_err();
    assert!(matches!(error, Error::Service(_)), "{error:?}");

    let seen = mock.seen();
    assert_eq!(seen[0], "GET /api/v1/namespaces/default/pods? ");
    assert!(
        seen[1].starts_with("POST /api/v1/namespaces/default/pods? {") && seen[1].contains("\"p\""),
        "{seen:?}"
    );
    assert!(seen[2].starts_with("DELETE /api/v1/namespaces/default/pods/p"), "{seen:?}");
    assert_eq!(
        mock.log(),
        [
            "List /api/v1/namespaces/default/pods -> 200",
            "Create /apis/coordination.k8s.io/v1/namespaces/default/leases -> 201",
            "Get /apis/coordination.k8s.io/v1/namespaces/default/leases/x -> 200",
            "Create /api/v1/namespaces/default/pods -> 201",
            "Delete /api/v1/namespaces/default/pods/p -> no response",
        ]
    );
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "an unexpected request")]
async fn a_service_that_panics_fails_the_request() {
    let service =
        tower::service_fn(async |request: Request<Body>| -> std::io::Result<http::Response<Body>> {
            panic!("an unexpected request: {request:?}");
        });
    let client = LeaseServer::new().connect().client_with(Client::new(service, "default"));
    let _ = Api::<Pod>::default_namespaced(client).get("x").await;
}

#[tokio::test(start_paused = true)]
async fn faults_and_distance_are_in_front_of_both() {
    let mock = Mock::new();
    mock.link.set_distance(2 * SECOND);
    mock.link.inject(Fault::delay_after(5 * SECOND).times(1));
    let start = Instant::now();
    mock.list().await.unwrap();
    assert_eq!(start.elapsed(), 9 * SECOND);
    mock.link.inject(Fault::replay().times(1));
    mock.list().await.unwrap();
    assert_eq!(mock.seen().len(), 3);
    mock.link.inject(Fault::refuse());
    assert!(mock.list().await.is_err() && mock.leases().get("x").await.is_err());
    assert_eq!(mock.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cut_cuts_both() {
    let mock = Mock::new();
    let mut events = mock.watch().await;
    let lines =
        mock.pods().log_stream("p", &LogParams { follow: true, ..LogParams::default() }).await.unwrap();
    let mut lines = futures::AsyncBufReadExt::lines(lines);
    mock.pods.send_replace(2);
    assert_eq!(events.next().await.unwrap().unwrap(), "pod-2");
    assert_eq!(lines.next().await.unwrap().unwrap(), "0");
    assert_eq!(mock.link.open_watches(), 2);

    mock.link.cut();
    mock.pods.send_replace(3);
    assert!(timeout(ONE_DAY, events.next()).await.is_err() && timeout(ONE_DAY, lines.next()).await.is_err());
    assert!(timeout(ONE_DAY, mock.list()).await.is_err());
    assert!(timeout(ONE_DAY, mock.leases().get_opt("x")).await.is_err());
    mock.link.mend();
    assert_eq!(mock.list().await.unwrap(), 3);
    assert_eq!(mock.leases().get_opt("x").await.unwrap(), None);
    assert!(timeout(ONE_DAY, events.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn its_watches_are_watches_of_the_link() {
    let mock = Mock::new();
    mock.link.set_distance(2 * SECOND);
    let mut events = mock.watch().await;
    let start = Instant::now();
    mock.pods.send_replace(2);
    assert_eq!(events.next().await.unwrap().unwrap(), "pod-2");
    assert_eq!(start.elapsed(), 2 * SECOND);
    mock.link.end_watches();
    assert!(events.next().await.is_none());

    let mut events = mock.watch().await;
    mock.link.reset_watches();
    assert!(events.next().await.unwrap().is_err());

    let mut events = mock.watch().await;
    drop(mock.pods);
    assert!(events.next().await.is_none(), "the service has ended it");
}
