//! The few requests about one Lease. Each is bounded in time, and each failure is classified. A request without an answer is
//! repeated beside the first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{FutureExt, Stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Resource;
use kube::api::{GetParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::classify::{Denial, Failure, classify, is_closed, shows_acceptance};
use super::codec::{self, RawLease};
use super::exchange::{exchange, server_time};
use super::hedge::{Hedge, hedged};
use super::watch_stream::watch_stream;
use crate::error::{Cause, RequestError};
use crate::lease::LeaseName;
use crate::log::log;
use crate::protocol::{DoneKeys, Hedging, Join, Queue, Record, Snapshot, Version, WallTime, Write};
use crate::settings::{LeaseTemplate, Settings};

/// A request, if it could be put into HTTP.
type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// The requests about one Lease.
pub(crate) struct LeaseClient {
    client: kube::Client,
    requests: Request,
    lease: LeaseName,
    field_manager: String,
    template: LeaseTemplate,
    write_timeout: Duration,
    read_timeout: Duration,
    hedging: Mutex<Hedging>,
    /// Whether a Kubernetes API server has ever answered, and accepted this client.
    reached: AtomicBool,
}

impl LeaseClient {
    pub(crate) fn new(client: kube::Client, settings: &Settings) -> Self {
        Self {
            client,
            requests: Request::new(Lease::url_path(&(), Some(settings.lease.namespace()))),
            lease: settings.lease.clone(),
            field_manager: settings.field_manager.clone(),
            template: settings.template.clone(),
            write_timeout: settings.write_timeout,
            read_timeout: settings.read_timeout,
            hedging: Mutex::default(),
            reached: AtomicBool::new(false),
        }
    }

    pub(crate) fn lease(&self) -> &LeaseName {
        &self.lease
    }

    pub(crate) fn reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Reads the Lease. `None` if it does not exist.
    pub(crate) async fn get(&self, within: Duration) -> Result<Option<Snapshot>, Failure> {
        let request = self.requests.get(self.lease.name(), &GetParams::default());
        let request = self.built("get", request)?;
        let lease = self.hedged("get", within.min(self.read_timeout), &|| true, || async {
            match exchange(&self.client, request.clone()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
                answer => answer.map(Some),
            }
        });
        lease.await?.map(|lease| self.snapshot("get", lease)).transpose()
    }

    /// Makes one conditional write.
    pub(crate) async fn write(&self, write: &Write, within: Duration) -> Result<Snapshot, Failure> {
        self.write_while(write, within, &|| true).await
    }

    /// Makes one conditional write. It is sent again only while `may_send` says so.
    pub(crate) async fn write_while(
        &self,
        write: &Write,
        within: Duration,
        may_send: &(dyn Fn() -> bool + Sync),
    ) -> Result<Snapshot, Failure> {
        let (verb, lease) = match (&write.on, &write.on_record) {
            (None, _) => ("update", self.create(&write.record, &write.queue, within, false).await?),
            (Some(version), None) => ("patch", self.apply(version, write, within, may_send).await?),
            (Some(version), Some(on)) => {
                let patch =
                    self.json_patch(&codec::replace_record(&version.uid, on, &write.record, &write.done));
                let within = within.min(self.write_timeout);
                let answer = self.send_write("patch", patch, within, may_send).await;
                ("patch", answer.map_err(Failure::of_test)?)
            }
        };
        self.written(verb, lease, &write.record)
    }

    /// Whether the namespace is gone. A dry run of creating the Lease tells.
    pub(crate) async fn namespace_gone(&self, record: &Record, within: Duration) -> bool {
        matches!(self.try_create(record, within).await, Err(Failure::Denied(Denial::NamespaceGone(_))))
    }

    /// The server's wall clock, if the server tells it.
    pub(crate) async fn server_time(&self) -> Result<Option<WallTime>, Failure> {
        let request = self.requests.get(self.lease.name(), &GetParams::default());
        let request = self.built("get", request)?;
        self.bounded("get", self.read_timeout, server_time(&self.client, request).boxed()).await
    }

    /// A dry run of creating the Lease. The object in the answer has no version.
    pub(crate) async fn try_create(&self, record: &Record, within: Duration) -> Result<(), Failure> {
        self.create(record, &Queue::EMPTY, within, true).await.map(drop)
    }

    /// Server-Side Apply of the whole owned spec to exactly this version of exactly this object.
    async fn apply(
        &self,
        on: &Version,
        write: &Write,
        within: Duration,
        may_send: &(dyn Fn() -> bool + Sync),
    ) -> Result<RawLease, Failure> {
        let Write { record, queue, done, .. } = write;
        let mut object = self.object(record);
        object["metadata"]["uid"] = json!(on.uid);
        object["metadata"]["resourceVersion"] = json!(on.revision.to_string());
        object["metadata"]["annotations"] = codec::annotations(queue, done);
        let params = PatchParams::apply(&self.field_manager).force();
        let request = self.requests.patch(self.lease.name(), &params, &Patch::Apply(&object));
        let within = within.min(self.write_timeout);
        self.send_write("patch", request, within, may_send).await
    }

    /// Joins the queue. A list that is not as expected, and another object of the same name, are a conflict.
    pub(crate) async fn join(&self, join: &Join) -> Result<Snapshot, Failure> {
        let request = self.built("patch", self.json_patch(&codec::join(join)))?;
        match self.bounded("patch", self.read_timeout, exchange(&self.client, request).boxed()).await {
            Ok(lease) => self.snapshot("patch", lease),
            Err(failure) => Err(failure.of_test()),
        }
    }

    fn json_patch(&self, patch: &Value) -> Built {
        let params =
            PatchParams { field_manager: Some(self.field_manager.clone()), ..PatchParams::default() };
        let mut request = self.requests.patch(self.lease.name(), &params, &Patch::Merge(patch))?;
        let json_patch = HeaderValue::from_static("application/json-patch+json");
        request.headers_mut().insert(CONTENT_TYPE, json_patch);
        Ok(request)
    }

    /// A dry run of a write that changes nothing. It needs the permission of every other write.
    pub(crate) async fn probe(&self) -> Result<Snapshot, Failure> {
        let params = PatchParams {
            field_manager: Some(self.field_manager.clone()),
            dry_run: true,
            force: false,
            ..PatchParams::default()
        };
        let request = self.requests.patch(self.lease.name(), &params, &Patch::Merge(&json!({})));
        let request = self.built("patch", request)?;
        let answer = self.bounded("patch", self.read_timeout, exchange(&self.client, request).boxed()).await;
        self.snapshot("patch", answer?)
    }

    /// PUT without a version: it creates the Lease atomically, and is refused if the Lease exists.
    async fn create(
        &self,
        record: &Record,
        queue: &Queue,
        within: Duration,
        dry_run: bool,
    ) -> Result<RawLease, Failure> {
        let mut object = self.object(record);
        object["metadata"]["labels"] = json!(self.template.labels);
        object["metadata"]["annotations"] = codec::annotations(queue, &DoneKeys::Empty);
        for (key, value) in &self.template.annotations {
            object["metadata"]["annotations"][key] = json!(value);
        }
        if let Some(owner) = &self.template.owner {
            object["metadata"]["ownerReferences"] = json!([owner]);
        }
        let params = PostParams { dry_run, field_manager: Some(self.field_manager.clone()) };
        let request = self.requests.replace(self.lease.name(), &params, object.to_string().into_bytes());
        let within = within.min(if dry_run { self.read_timeout } else { self.write_timeout });
        self.send_write("update", request, within, &|| true).await
    }

    /// Opens a watch on this one Lease, from `revision` on.
    pub(super) async fn watch(
        &self,
        revision: u64,
    ) -> Result<impl Stream<Item = kube::Result<WatchEvent<RawLease>>> + use<>, Failure> {
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.lease.name()));
        let request = self.requests.watch(&params, &revision.to_string());
        let stream = watch_stream(&self.client, self.built("watch", request)?);
        self.bounded("watch", self.read_timeout, stream.boxed()).await
    }

    /// The Lease of an answer or a watch event, if it is a Lease and this one.
    pub(super) fn snapshot(&self, verb: &'static str, lease: RawLease) -> Result<Snapshot, Failure> {
        if lease.metadata.name.as_deref() != Some(self.lease.name()) {
            return Err(self.malformed(verb, format!("an object named {:?}", lease.metadata.name)));
        }
        Snapshot::try_from(lease).map_err(|malformed| self.malformed(verb, malformed.to_string()))
    }

    /// The Lease after a write, if it really shows what was written.
    fn written(&self, verb: &'static str, lease: RawLease, record: &Record) -> Result<Snapshot, Failure> {
        let snapshot = self.snapshot(verb, lease)?;
        let made = snapshot.record.holder == record.holder && snapshot.record.renewed == record.renewed;
        if made {
            Ok(snapshot)
        } else {
            Err(self.malformed(verb, "the object was not changed as asked".into()))
        }
    }

    fn object(&self, record: &Record) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": self.lease.name(), "namespace": self.lease.namespace() },
            "spec": codec::spec(record),
        })
    }

    /// Sends a request that is not about the Lease itself, but about what this client may do with it.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        request: Built,
    ) -> Result<T, Failure> {
        let request = self.built(verb, request)?;
        self.bounded(verb, self.read_timeout, exchange(&self.client, request).boxed()).await
    }

    fn built(&self, verb: &'static str, request: Built) -> Result<http::Request<Vec<u8>>, Failure> {
        request.map_err(|error| self.failure(verb, kube::Error::BuildRequest(error)))
    }

    async fn send_write(
        &self,
        verb: &'static str,
        request: Built,
        within: Duration,
        may_send: &(dyn Fn() -> bool + Sync),
    ) -> Result<RawLease, Failure> {
        let request = self.built(verb, request)?;
        self.hedged(verb, within, may_send, || exchange(&self.client, request.clone())).await
    }

    /// Sends the request, and repeats it beside the first while there is no answer.
    async fn hedged<T, F>(
        &self,
        verb: &'static str,
        within: Duration,
        may_send: &(dyn Fn() -> bool + Sync),
        send: impl Fn() -> F + Send + Sync,
    ) -> Result<T, Failure>
    where
        F: Future<Output = kube::Result<T>> + Send,
    {
        self.check_runtime(verb)?;
        let unanswered = || self.unanswered(verb, within);
        let hedge = Hedge { hedging: &self.hedging, timeout: within, may_send, unanswered: &unanswered };
        let send = || async { self.classified(verb, send().await) };
        let repeating = |waited| {
            log!(warn, self.lease, verb, ?waited, "no answer: the request is sent once more");
        };
        hedged(hedge, send, repeating).await
    }

    async fn bounded<T>(
        &self,
        verb: &'static str,
        within: Duration,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        self.check_runtime(verb)?;
        match tokio::time::timeout(within, request).await {
            Ok(answer) => self.classified(verb, answer),
            Err(_) => Err(self.unanswered(verb, within)),
        }
    }

    fn check_runtime(&self, verb: &'static str) -> Result<(), Failure> {
        match tokio::runtime::Handle::try_current() {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::Unknown { error: self.error(verb, Cause::NoRuntime), retry_after: None }),
        }
    }

    fn unanswered(&self, verb: &'static str, within: Duration) -> Failure {
        Failure::Unknown { error: self.error(verb, Cause::NoAnswer(within)), retry_after: None }
    }

    fn classified<T>(&self, verb: &'static str, answer: kube::Result<T>) -> Result<T, Failure> {
        let accepted = match &answer {
            Ok(_) => true,
            Err(kube::Error::Api(status)) => shows_acceptance(status),
            Err(_) => false,
        };
        self.reached.fetch_or(accepted, Ordering::Relaxed);
        answer.map_err(|error| self.failure(verb, error))
    }

    pub(super) fn failure(&self, verb: &'static str, error: kube::Error) -> Failure {
        let error = Arc::new(error);
        let failed = self.error(verb, Cause::Client(error.clone()));
        match &*error {
            kube::Error::Api(status) => classify(status, failed),
            error if is_closed(error) => Failure::Denied(Denial::ClientClosed(failed)),
            _ => Failure::Unknown { error: failed, retry_after: None },
        }
    }

    /// The server ended a watch that had only just begun.
    pub(super) fn short_watch(&self) -> Failure {
        self.malformed("watch", "the watch ended right after it had begun".to_owned())
    }

    pub(super) fn malformed(&self, verb: &'static str, what: String) -> Failure {
        Failure::Unknown { error: self.error(verb, Cause::Malformed(what)), retry_after: None }
    }

    fn error(&self, verb: &'static str, cause: Cause) -> RequestError {
        RequestError { verb, lease: self.lease.clone(), cause }
    }
}
