//! All groups share this: the API server, the options, and the clients and locks of contenders.

use anyhow::Result;
use kube::{Client, Config};
use kube_lease_lock::{LeaseLock, LeaseLockBuilder};

use crate::clients::client;
use crate::options::{ClientKind, Options};
use crate::raw::RawLease;
use crate::recorder::Recorder;
use crate::support::ControlPlane;

pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    kind: ClientKind,
    config: Config,
    namespace: String,
}

impl<'a> Bench<'a> {
    /// Creates a namespace, so that each group has its own.
    pub(crate) async fn new(plane: &ControlPlane, options: &'a Options) -> Self {
        let (config, namespace) = (plane.config().await, plane.fresh_namespace().await);
        Self { options, kind: options.client, config, namespace }
    }

    /// The same with this kind of client.
    pub(crate) fn with(&self, kind: ClientKind) -> Self {
        Self { options: self.options, kind, config: self.config.clone(), namespace: self.namespace.clone() }
    }

    pub(crate) fn kind(&self) -> ClientKind {
        self.kind
    }

    /// A client with connections of its own.
    pub(crate) fn client(&self) -> Result<Client> {
        self.recorded_client(&Recorder::default())
    }

    /// The same, and `recorder` records its requests.
    pub(crate) fn recorded_client(&self, recorder: &Recorder) -> Result<Client> {
        client(self.kind, self.config.clone(), recorder)
    }

    /// A client that impersonates `user`, who has all permissions.
    pub(crate) fn client_as(&self, user: &str) -> Result<Client> {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
        client(self.kind, config, &Recorder::default())
    }

    /// A lock with the default settings on the Lease `name`.
    pub(crate) fn lock(&self, client: Client, name: &str) -> Result<LeaseLock> {
        Ok(self.builder(client, name).build()?)
    }

    pub(crate) fn builder(&self, client: Client, name: &str) -> LeaseLockBuilder {
        LeaseLock::builder(client, name).namespace(&self.namespace).identity("contender")
    }

    /// Sends plain requests about the Lease `name`.
    pub(crate) fn raw(&self, client: Client, name: &str) -> RawLease {
        RawLease::new(client, &self.namespace, name)
    }
}
