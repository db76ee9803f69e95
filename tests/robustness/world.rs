//! What each scenario has to itself: a namespace, a register, contenders and a journal.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::contender::Contender;
use crate::journal::Journal;
use crate::manner::Manner;
use crate::proxy::Proxy;
use crate::support::{ControlPlane, Register, Verdict};

pub(crate) const LEASE: &str = "contended";

/// A control plane for all scenarios that leave it alone.
pub(crate) async fn undisturbed() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE.get_or_init(ControlPlane::start).await
}

pub(crate) struct World<'plane> {
    pub(crate) plane: &'plane ControlPlane,
    pub(crate) namespace: String,
    pub(crate) register: Register,
    pub(crate) journal: Arc<Journal>,
    upstream: SocketAddr,
    rng: RefCell<fastrand::Rng>,
}

impl<'plane> World<'plane> {
    pub(crate) async fn new(name: &str, plane: &'plane ControlPlane) -> Self {
        Self::seeded(name, plane, fastrand::u64(..)).await
    }

    /// The contenders draw from this seed.
    pub(crate) async fn seeded(name: &str, plane: &'plane ControlPlane, seed: u64) -> Self {
        let url = plane.config().await.cluster_url;
        let upstream = url.authority().expect("the address of the API server").as_str();
        Self {
            plane,
            namespace: plane.fresh_namespace().await,
            register: Register::start().await,
            journal: Arc::new(Journal::new(name)),
            upstream: upstream.parse().expect("the numeric address of a control plane of our own"),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// An administrator.
    pub(crate) async fn contender(&self, name: &str, manner: Manner) -> Contender {
        self.start(name, manner, None).await
    }

    /// One who may do what the user was granted.
    pub(crate) async fn contender_as(&self, user: &str, manner: Manner) -> Contender {
        self.start(user, manner, Some(user)).await
    }

    async fn start(&self, name: &str, manner: Manner, user: Option<&str>) -> Contender {
        let spec = json!({
            "kubeconfig": self.plane.kubeconfig(),
            "user": user,
            "namespace": self.namespace,
            "lease": LEASE,
            "register": self.register.address(),
            "seed": self.rng.borrow_mut().u64(..),
            "manner": manner.to_json(),
        });
        Contender::start(name, Proxy::start(self.upstream).await, spec, Arc::clone(&self.journal))
    }

    /// Two that want to keep the lock: the one that has it, and the one that waits for it. With clients of either kind.
    pub(crate) async fn keepers(&self, manner: Manner) -> (Contender, Contender) {
        let manner = || Manner { lock_client: self.rng.borrow_mut().bool(), ..manner.clone() };
        let holder = self.contender("holder", manner()).await;
        holder.said("acquired", 0).await;
        let waiter = self.contender("waiter", manner()).await;
        waiter.said("asks", 0).await;
        (holder, waiter)
    }

    pub(crate) async fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.plane.client().await, &self.namespace)
    }

    /// The verdict, which is noted, and has to be clean.
    pub(crate) fn clean_verdict(&self) -> Verdict {
        let verdict = self.register.verdict();
        self.journal.note("register", &verdict);
        assert!(verdict.is_clean(), "{verdict}");
        verdict
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what happened: {}", self.journal.path().display());
        } else {
            self.journal.remove();
        }
    }
}
