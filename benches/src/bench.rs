//! What all groups share: the API server, the options, and how a contender is made.

use anyhow::Result;
use kube::{Client, Config};
use kube_lease_lock::{LeaseLock, LeaseLockBuilder};

use crate::clients::client;
use crate::options::{ClientKind, Options};
use crate::raw::RawLease;
use crate::support::ControlPlane;
use crate::tap::Tap;

pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    kind: ClientKind,
    config: Config,
    namespace: String,
}

impl<'a> Bench<'a> {
    /// Each group works in a namespace of its own.
    pub(crate) async fn new(plane: &ControlPlane, options: &'a Options) -> Self {
        let (config, namespace) = (plane.config().await, plane.fresh_namespace().await);
        Self { options, kind: options.client, config, namespace }
    }

    /// The same with the other kind of client, to compare them.
    pub(crate) fn with(&self, kind: ClientKind) -> Self {
        Self { options: self.options, kind, config: self.config.clone(), namespace: self.namespace.clone() }
    }

    pub(crate) fn kind(&self) -> ClientKind {
        self.kind
    }

    /// A client with connections of its own.
    pub(crate) fn client(&self) -> Result<Client> {
        self.tapped(&Tap::default())
    }

    /// The same with its requests noted.
    pub(crate) fn tapped(&self, tap: &Tap) -> Result<Client> {
        client(self.kind, self.config.clone(), tap)
    }

    /// A client whose requests the API server sees as those of `user`, who may do everything.
    pub(crate) fn client_as(&self, user: &str) -> Result<Client> {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
        client(self.kind, config, &Tap::default())
    }

    /// A lock with all defaults on the Lease `name`.
    pub(crate) fn lock(&self, client: Client, name: &str) -> Result<LeaseLock> {
        Ok(self.builder(client, name).build()?)
    }

    pub(crate) fn builder(&self, client: Client, name: &str) -> LeaseLockBuilder {
        LeaseLock::builder(client, name).namespace(&self.namespace).identity("contender")
    }

    /// Plain requests about the Lease `name`.
    pub(crate) fn raw(&self, client: Client, name: &str) -> RawLease {
        RawLease::new(client, &self.namespace, name)
    }
}
