//! An API server whose answers are tampered with.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Client;
use kube::client::Body;
use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{LeaseServer, Link};
use serde_json::{Value, json};

const NAME: &str = "a-lock";

/// What the answers look like.
#[derive(Clone)]
pub(crate) enum Mask {
    None,
    /// The Lease as it was first shows this spec, and this metadata besides its own.
    Of(Value),
    /// Every answer is this; the server is not asked.
    Garbage(Vec<u8>),
    /// Every watch tells this, and ends or stays open.
    GarbageWatch {
        garbage: Vec<u8>,
        ends: bool,
    },
}

/// One Lease, and a lock that is lied to.
pub(crate) struct World {
    server: LeaseServer,
    pub(crate) link: Link,
    pub(crate) lock: LeaseLock,
    mask: Arc<Mutex<Mask>>,
    writes: Arc<Mutex<usize>>,
}

impl World {
    pub(crate) fn new(spec: &Value) -> Self {
        let server = LeaseServer::new();
        let lease = json!({ "metadata": { "name": NAME, "namespace": "default" }, "spec": spec });
        let lease: Lease = server.put(serde_json::from_value(lease).unwrap());
        let version = lease.metadata.resource_version.unwrap();
        let link = server.connect();
        let mask = Arc::new(Mutex::new(Mask::None));
        let writes = Arc::new(Mutex::new(0));
        let (client, worn, counter) = (link.client(), mask.clone(), writes.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (client, mask, version) = (client.clone(), worn.lock().unwrap().clone(), version.clone());
            let joins = request
                .headers()
                .get(CONTENT_TYPE)
                .is_some_and(|kind| kind == "application/merge-patch+json");
            if request.method() != Method::GET && !joins {
                *counter.lock().unwrap() += 1;
            }
            async move {
                match mask {
                    Mask::Garbage(garbage) => return Ok(Response::new(Reply::whole(garbage))),
                    // A disguised Lease stays as it is until it is claimed.
                    Mask::Of(_) if joins => {
                        let mut refused = Response::new(Reply::whole(Vec::new()));
                        *refused.status_mut() = StatusCode::CONFLICT;
                        return Ok(refused);
                    }
                    _ => {}
                }
                let reads = request.method() == Method::GET;
                let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
                let answer = client.send(request).await?;
                let ok = answer.status().is_success();
                Ok::<_, kube::Error>(match mask {
                    Mask::Of(odd) if ok && reads && !watches => dress(answer, &odd, &version).await,
                    Mask::GarbageWatch { garbage, ends } if ok && watches => {
                        Response::new(Reply::line(&garbage, ends))
                    }
                    _ => answer.map(|body| Reply::Real(Box::pin(body))),
                })
            }
        });
        let lock = LeaseLock::builder(Client::new(service, "default"), NAME).rng_seed(7).build().unwrap();
        Self { server, link, lock, mask, writes }
    }

    pub(crate) fn wear(&self, mask: Mask) {
        *self.mask.lock().unwrap() = mask;
    }

    /// How many writes were sent, other than those that take a place in the queue.
    pub(crate) fn writes(&self) -> usize {
        *self.writes.lock().unwrap()
    }

    pub(crate) fn edit(&self, edit: impl FnOnce(&mut LeaseSpec)) {
        self.server.edit("default", NAME, |lease| edit(lease.spec.as_mut().unwrap()));
    }
}

async fn dress(answer: Response<Body>, odd: &Value, version: &str) -> Response<Reply> {
    let body = answer.into_body().collect_bytes().await.unwrap();
    let mut lease: Value = serde_json::from_slice(&body).unwrap();
    if lease["metadata"]["resourceVersion"] == version {
        lease["spec"] = odd["spec"].clone();
        for (field, value) in odd["metadata"].as_object().into_iter().flatten() {
            lease["metadata"][field] = value.clone();
        }
    }
    Response::new(Reply::whole(lease.to_string().into_bytes()))
}

/// An answer's body, real or made up.
enum Reply {
    Real(Pin<Box<Body>>),
    MadeUp { text: Option<Vec<u8>>, ends: bool },
}

impl Reply {
    fn whole(text: Vec<u8>) -> Self {
        Self::MadeUp { text: Some(text), ends: true }
    }

    fn line(text: &[u8], ends: bool) -> Self {
        Self::MadeUp { text: Some([text, b"\n"].concat()), ends }
    }
}

impl http_body::Body for Reply {
    type Data = <Body as http_body::Body>::Data;
    type Error = kube::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<kube::Result<Frame<Self::Data>>>> {
        match self.get_mut() {
            Self::Real(body) => body.as_mut().poll_frame(context),
            Self::MadeUp { text, ends } => match text.take() {
                Some(text) => Poll::Ready(Some(Ok(Frame::data(text.into())))),
                None if *ends => Poll::Ready(None),
                None => Poll::Pending,
            },
        }
    }
}
