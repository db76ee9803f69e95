//! An API server whose replies are changed on their way to the lock.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use kube::Client;
use kube::client::Body;
use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{LeaseServer, Link};
use serde_json::Value;

use crate::fixture::{NAME, NAMESPACE, put_lease};

/// How the replies are changed.
#[derive(Clone)]
pub(crate) enum Tampering {
    None,
    /// Reads of the first version of the Lease return this spec, and this metadata besides its own.
    Reads(Value),
    /// Every reply is this. No request reaches the server.
    Garbage(Vec<u8>),
    /// Every watch sends this, and ends or stays open.
    Watch {
        garbage: Vec<u8>,
        ends: bool,
    },
}

/// A server with one Lease, and a lock that receives changed replies.
pub(crate) struct TamperedServer {
    server: LeaseServer,
    pub(crate) link: Link,
    pub(crate) lock: LeaseLock,
    tampering: Arc<Mutex<Tampering>>,
    writes: Arc<Mutex<usize>>,
}

impl TamperedServer {
    pub(crate) fn new(spec: &Value) -> Self {
        let server = LeaseServer::new();
        let version = put_lease(&server, spec).metadata.resource_version.unwrap();
        let link = server.connect();
        let tampering = Arc::new(Mutex::new(Tampering::None));
        let writes = Arc::new(Mutex::new(0));
        let (client, current, counter) = (link.client(), tampering.clone(), writes.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (client, tampering, version) =
                (client.clone(), current.lock().unwrap().clone(), version.clone());
            let joins = request
                .headers()
                .get(CONTENT_TYPE)
                .is_some_and(|kind| kind == "application/merge-patch+json");
            if request.method() != Method::GET && !joins {
                *counter.lock().unwrap() += 1;
            }
            async move {
                match tampering {
                    Tampering::Garbage(garbage) => return Ok(Response::new(Reply::whole(garbage))),
                    // The Lease stays at its first version until it is claimed: nobody joins its queue.
                    Tampering::Reads(_) if joins => {
                        let mut refused = Response::new(Reply::whole(Vec::new()));
                        *refused.status_mut() = StatusCode::CONFLICT;
                        return Ok(refused);
                    }
                    _ => {}
                }
                let reads = request.method() == Method::GET;
                let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
                let reply = client.send(request).await?;
                let ok = reply.status().is_success();
                Ok::<_, kube::Error>(match tampering {
                    Tampering::Reads(odd) if ok && reads && !watches => {
                        replace_fields(reply, &odd, &version).await
                    }
                    Tampering::Watch { garbage, ends } if ok && watches => {
                        Response::new(Reply::line(&garbage, ends))
                    }
                    _ => reply.map(|body| Reply::Real(Box::pin(body))),
                })
            }
        });
        let lock = LeaseLock::builder(Client::new(service, NAMESPACE), NAME).rng_seed(7).build().unwrap();
        Self { server, link, lock, tampering, writes }
    }

    pub(crate) fn tamper(&self, tampering: Tampering) {
        *self.tampering.lock().unwrap() = tampering;
    }

    /// The number of writes that were sent, other than those that join the queue.
    pub(crate) fn writes(&self) -> usize {
        *self.writes.lock().unwrap()
    }

    pub(crate) fn edit(&self, edit: impl FnOnce(&mut LeaseSpec)) {
        self.server.edit(NAMESPACE, NAME, |lease| edit(lease.spec.as_mut().unwrap()));
    }
}

async fn replace_fields(reply: Response<Body>, odd: &Value, version: &str) -> Response<Reply> {
    let body = reply.into_body().collect_bytes().await.unwrap();
    let mut lease: Value = serde_json::from_slice(&body).unwrap();
    if lease["metadata"]["resourceVersion"] == version {
        lease["spec"] = odd["spec"].clone();
        for (field, value) in odd["metadata"].as_object().into_iter().flatten() {
            lease["metadata"][field] = value.clone();
        }
    }
    Response::new(Reply::whole(lease.to_string().into_bytes()))
}

/// The body of a reply, real or made up.
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
