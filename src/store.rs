//! The few requests about one Lease: each bounded in time, each answer sorted. Only this file and
//! [`watch`](crate::watch) talk to Kubernetes.
//!
#![doc = include_str!("lease_api.md")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Fuse};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Resource;
use kube::api::{GetParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::{Request, Status, WatchEvent};
use serde_json::{Value, json};

use crate::error::{AcquireError, Cause, RequestError};
use crate::events::events;
use crate::lease::LeaseName;
use crate::pace::Backoff;
use crate::protocol::Write;
use crate::queue::Queue;
use crate::record::{Record, Snapshot, Version};
use crate::settings::{Creation, Settings};
use crate::wire::Object;

/// A request, if it could be put into HTTP.
type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// The answer to a request under way, once; where none is, nothing ever comes.
pub(crate) type UnderWay<T> = Fuse<BoxFuture<'static, Result<T, Failure>>>;

/// One Lease on the API server.
pub(crate) struct Store {
    client: kube::Client,
    requests: Request,
    lease: LeaseName,
    field_manager: String,
    creation: Creation,
    request_timeout: Duration,
    /// Whether a Kubernetes API server has ever answered, and known this client.
    reached: AtomicBool,
}

/// A request that brought no object.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The object is not in the expected version, or there is one where none was expected.
    Conflict(RequestError),
    /// No answer, or one that may hide a commit, or one that may pass.
    Unknown { error: RequestError, retry_after: Option<Duration> },
    /// The server understood and said no; asking again will not help.
    Denied(Denial),
}

/// Why asking again will not help.
#[derive(Debug, Clone)]
pub(crate) enum Denial {
    Forbidden(RequestError),
    NamespaceGone(RequestError),
    Refused(RequestError),
}

impl From<Denial> for AcquireError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Forbidden(error) => AcquireError::Forbidden(error),
            Denial::NamespaceGone(error) => AcquireError::NamespaceGone(error),
            Denial::Refused(error) => AcquireError::Refused(error),
        }
    }
}

impl Failure {
    /// How long the server asked to be left alone.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Unknown { retry_after, .. } => *retry_after,
            Failure::Conflict(_) | Failure::Denied(_) => None,
        }
    }

    /// The pause before what became of the request is looked into: none after a first conflict.
    pub(crate) fn pause(&self, backoff: &mut Backoff, rng: &mut fastrand::Rng) -> Duration {
        let first_conflict = matches!(self, Failure::Conflict(_)) && backoff.is_fresh();
        let pause = backoff.failed(self.retry_after(), rng);
        if first_conflict { Duration::ZERO } else { pause }
    }

    pub(crate) fn error(&self) -> &RequestError {
        match self {
            Failure::Conflict(error)
            | Failure::Unknown { error, .. }
            | Failure::Denied(
                Denial::Forbidden(error) | Denial::NamespaceGone(error) | Denial::Refused(error),
            ) => error,
        }
    }
}

impl Store {
    pub(crate) fn new(client: kube::Client, settings: &Settings) -> Self {
        Self {
            client,
            requests: Request::new(Lease::url_path(&(), Some(settings.lease.namespace()))),
            lease: settings.lease.clone(),
            field_manager: settings.field_manager.clone(),
            creation: settings.creation.clone(),
            request_timeout: settings.request_timeout,
            reached: AtomicBool::new(false),
        }
    }

    pub(crate) fn lease(&self) -> &LeaseName {
        &self.lease
    }

    pub(crate) fn reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// The Lease as it is now; `None` where there is none.
    pub(crate) async fn get(&self, within: Duration) -> Result<Option<Snapshot>, Failure> {
        let request = self.requests.get(self.lease.name(), &GetParams::default());
        let answer = async {
            match self.send(request).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
                answer => answer.map(Some),
            }
        };
        let answer = self.bounded("get", within, answer).await?;
        answer.map(|lease| self.snapshot("get", lease)).transpose()
    }

    /// Makes one conditional write.
    pub(crate) async fn write(&self, write: &Write, within: Duration) -> Result<Snapshot, Failure> {
        match &write.on {
            Some(version) => self.apply(version, write, within).await,
            None => self.create(&write.record, within, false).await,
        }
    }

    /// Whether the namespace is there, by way of creating the Lease without doing so.
    pub(crate) async fn namespace_gone(&self, record: &Record, within: Duration) -> bool {
        let answer = self.create(record, within, true).await;
        matches!(answer, Err(Failure::Denied(Denial::NamespaceGone(_))))
    }

    /// Server-Side Apply of the whole owned spec, to exactly this version of exactly this object.
    async fn apply(&self, on: &Version, write: &Write, within: Duration) -> Result<Snapshot, Failure> {
        let Write { record, queue, .. } = write;
        let mut object = self.object(record);
        object["metadata"]["uid"] = json!(on.uid);
        object["metadata"]["resourceVersion"] = json!(on.revision.to_string());
        if let Some(queue) = queue {
            object["metadata"]["annotations"] = json!({ Queue::ANNOTATION: queue.to_string() });
        }
        let params = PatchParams::apply(&self.field_manager).force();
        let request = self.requests.patch(self.lease.name(), &params, &Patch::Apply(&object));
        let lease = self.bounded("patch", within, self.send(request)).await?;
        self.written("patch", lease, record)
    }

    /// Merges a queue into exactly this version of exactly this object, whoever holds it.
    pub(crate) async fn join(&self, on: &Version, queue: &Queue) -> Result<Snapshot, Failure> {
        let patch = json!({ "metadata": {
            "uid": on.uid,
            "resourceVersion": on.revision.to_string(),
            "annotations": { Queue::ANNOTATION: queue.to_string() },
        } });
        let params =
            PatchParams { field_manager: Some(self.field_manager.clone()), ..PatchParams::default() };
        let request = self.requests.patch(self.lease.name(), &params, &Patch::Merge(&patch));
        let lease = self.bounded("patch", self.request_timeout, self.send(request)).await?;
        self.snapshot("patch", lease)
    }

    /// PUT without a version: creates atomically if absent, and is refused if not.
    async fn create(&self, record: &Record, within: Duration, dry_run: bool) -> Result<Snapshot, Failure> {
        let mut object = self.object(record);
        object["metadata"]["labels"] = json!(self.creation.labels);
        object["metadata"]["annotations"] = json!(self.creation.annotations);
        if let Some(owner) = &self.creation.owner {
            object["metadata"]["ownerReferences"] = json!([owner]);
        }
        let params = PostParams { dry_run, field_manager: Some(self.field_manager.clone()) };
        let request = self.requests.replace(self.lease.name(), &params, object.to_string().into_bytes());
        let lease = self.bounded("update", within, self.send(request)).await?;
        self.written("update", lease, record)
    }

    /// Opens a watch on this one Lease, from `revision` on.
    pub(crate) async fn watch(
        &self,
        revision: u64,
    ) -> Result<impl futures::Stream<Item = kube::Result<WatchEvent<Object>>> + use<>, Failure> {
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.lease.name()));
        let request = self.requests.watch(&params, &revision.to_string());
        let events =
            async { events(&self.client, request.map_err(kube::Error::BuildRequest)?).boxed().await };
        self.bounded("watch", self.request_timeout, events).await
    }

    /// A Lease from an answer or a watch event, if it is one and this one.
    pub(crate) fn snapshot(&self, verb: &'static str, lease: Object) -> Result<Snapshot, Failure> {
        if lease.metadata.name.as_deref() != Some(self.lease.name()) {
            return Err(self.nonsense(verb, format!("an object named {:?}", lease.metadata.name)));
        }
        Snapshot::try_from(lease).map_err(|malformed| self.nonsense(verb, malformed.to_string()))
    }

    /// The object that a write left, if it really shows what was written.
    fn written(&self, verb: &'static str, lease: Object, record: &Record) -> Result<Snapshot, Failure> {
        let snapshot = self.snapshot(verb, lease)?;
        let made = snapshot.record.holder == record.holder && snapshot.record.renewed == record.renewed;
        if made {
            Ok(snapshot)
        } else {
            Err(self.nonsense(verb, "the object was not changed as asked".into()))
        }
    }

    fn object(&self, record: &Record) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": self.lease.name(), "namespace": self.lease.namespace() },
            "spec": record.to_spec(),
        })
    }

    /// Boxed, as requests are rare and large, and locks that wait for something else many.
    async fn send(&self, request: Built) -> kube::Result<Object> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        self.client.request(request).boxed().await
    }

    async fn bounded<T>(
        &self,
        verb: &'static str,
        within: Duration,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Failure::Unknown { error: self.error(verb, Cause::NoRuntime), retry_after: None });
        }
        let within = within.min(self.request_timeout);
        let Ok(answer) = tokio::time::timeout(within, request).await else {
            let error = self.error(verb, Cause::NoAnswer(within));
            return Err(Failure::Unknown { error, retry_after: None });
        };
        let known = match &answer {
            Ok(_) => true,
            Err(kube::Error::Api(status)) => status.code != 401 && !is_foreign(status),
            Err(_) => false,
        };
        self.reached.fetch_or(known, Ordering::Relaxed);
        answer.map_err(|error| self.sort(verb, error))
    }

    /// The meaning of an error: by HTTP code first, by reason second.
    pub(crate) fn sort(&self, verb: &'static str, error: kube::Error) -> Failure {
        let kube::Error::Api(status) = &error else {
            return Failure::Unknown {
                error: self.error(verb, Cause::Client(error.into())),
                retry_after: None,
            };
        };
        let code = status.code;
        let retry_after = retry_after(status);
        let (no_namespace, other) = (is_namespace_gone(status), is_other_object(status));
        let foreign = is_foreign(status);
        let error = self.error(verb, Cause::Client(Arc::new(error)));
        match code {
            _ if foreign => Failure::Unknown { error, retry_after },
            403 | 404 if no_namespace => Failure::Denied(Denial::NamespaceGone(error)),
            // Tokens rotate: a server that knew this client before will know it again.
            401 if self.reached() => Failure::Unknown { error, retry_after },
            401 | 403 => Failure::Denied(Denial::Forbidden(error)),
            409 if verb == "patch" || verb == "update" => Failure::Conflict(error),
            422 if other => Failure::Conflict(error),
            408 | 409 | 410 | 425 | 429 => Failure::Unknown { error, retry_after },
            400..=499 => Failure::Denied(Denial::Refused(error)),
            _ => Failure::Unknown { error, retry_after },
        }
    }

    /// The server ended a watch that it had only just begun.
    pub(crate) fn short_watch(&self) -> RequestError {
        self.error("watch", Cause::Nonsense("the watch ended right after it had begun".to_owned()))
    }

    fn nonsense(&self, verb: &'static str, what: String) -> Failure {
        Failure::Unknown { error: self.error(verb, Cause::Nonsense(what)), retry_after: None }
    }

    fn error(&self, verb: &'static str, cause: Cause) -> RequestError {
        RequestError { verb, lease: self.lease.clone(), cause }
    }
}

/// The error was worded by kube: the answer did not come from a Kubernetes API server.
fn is_foreign(status: &Status) -> bool {
    status.reason == "Failed to parse error data"
}

fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// The namespace is missing, or under deletion.
fn is_namespace_gone(status: &Status) -> bool {
    let Some(details) = &status.details else {
        return false;
    };
    details.kind == "namespaces" || details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// The object is there where none was expected (a PUT without a version), or is another one of that name:
/// Kubernetes words both as invalid metadata.
fn is_other_object(status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| &details.causes[..]).unwrap_or_default();
    causes.iter().any(|cause| ["metadata.resourceVersion", "metadata.uid"].contains(&cause.field.as_str()))
}
