//! Each test has a namespace, a register, contenders and an event log of its own.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::sleep;

use crate::behaviour::Behaviour;
use crate::contender::Contender;
use crate::event_log::EventLog;
use crate::proxy::{Distance, Proxy};
use crate::support::{ControlPlane, Register, Verdict};

pub(crate) const LEASE: &str = "contended";

/// A holder opens its watch a second after its claim. Its first event takes a moment more.
const WATCH_TIMEOUT: Duration = Duration::from_secs(2);

/// One control plane for all tests that inject no faults into it.
pub(crate) async fn shared_control_plane() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE.get_or_init(ControlPlane::start).await
}

pub(crate) struct Fixture<'plane> {
    pub(crate) plane: &'plane ControlPlane,
    pub(crate) namespace: String,
    pub(crate) register: Register,
    pub(crate) event_log: Arc<EventLog>,
    upstream: SocketAddr,
    rng: RefCell<fastrand::Rng>,
}

impl<'plane> Fixture<'plane> {
    pub(crate) async fn new(name: &str, plane: &'plane ControlPlane) -> Self {
        Self::seeded(name, plane, fastrand::u64(..)).await
    }

    /// The random choices of the contenders come from this seed.
    pub(crate) async fn seeded(name: &str, plane: &'plane ControlPlane, seed: u64) -> Self {
        let url = plane.config().await.cluster_url;
        let upstream = url.authority().expect("the address of the API server").as_str();
        Self {
            plane,
            namespace: plane.fresh_namespace().await,
            register: Register::start().await,
            event_log: Arc::new(EventLog::new(name)),
            upstream: upstream.parse().expect("the numeric address of a control plane of our own"),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// Starts a contender with the permissions of an administrator.
    pub(crate) async fn contender(&self, name: &str, behaviour: Behaviour) -> Contender {
        self.start(name, behaviour, None, Distance::NONE).await
    }

    /// Starts a contender with the permissions that this user was granted.
    pub(crate) async fn contender_as(&self, user: &str, behaviour: Behaviour) -> Contender {
        self.contender_at(Distance::NONE, user, behaviour).await
    }

    /// Starts a contender with the permissions of this user, and so far from the API server.
    pub(crate) async fn contender_at(
        &self,
        distance: Distance,
        user: &str,
        behaviour: Behaviour,
    ) -> Contender {
        self.start(user, behaviour, Some(user), distance).await
    }

    async fn start(
        &self,
        name: &str,
        behaviour: Behaviour,
        user: Option<&str>,
        distance: Distance,
    ) -> Contender {
        let spec = json!({
            "kubeconfig": self.plane.kubeconfig(),
            "user": user,
            "namespace": self.namespace,
            "lease": LEASE,
            "register": self.register.address(),
            "seed": self.rng.borrow_mut().u64(..),
            "behaviour": behaviour.to_json(),
        });
        let link = Proxy::start(self.upstream, distance).await;
        Contender::start(name, link, spec, Arc::clone(&self.event_log))
    }

    /// Starts two contenders with this behaviour: the one holds the lock, and the other waits for it. Which kind of
    /// client they use is random.
    pub(crate) async fn holder_and_waiter(&self, behaviour: Behaviour) -> (Contender, Contender) {
        let behaviour = || Behaviour { lock_client: self.rng.borrow_mut().bool(), ..behaviour.clone() };
        let holder = self.contender("holder", behaviour()).await;
        holder.wait_for("acquired", 0).await;
        let waiter = self.contender("waiter", behaviour()).await;
        waiter.wait_for("asks", 0).await;
        (holder, waiter)
    }

    /// Like [`holder_and_waiter`](Self::holder_and_waiter), after the holder has opened its watch. A young hold has none,
    /// so that a short hold costs nothing more.
    pub(crate) async fn watching_holder_and_waiter(&self, behaviour: Behaviour) -> (Contender, Contender) {
        let pair = self.holder_and_waiter(behaviour).await;
        sleep(WATCH_TIMEOUT).await;
        pair
    }

    pub(crate) async fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.plane.client().await, &self.namespace)
    }

    /// Records the verdict, and fails the test if it is not clean.
    pub(crate) fn clean_verdict(&self) -> Verdict {
        let verdict = self.register.verdict();
        self.event_log.record("register", &verdict);
        assert!(verdict.is_clean(), "{verdict}");
        verdict
    }
}

impl Drop for Fixture<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("event log: {}", self.event_log.path().display());
        } else {
            self.event_log.remove();
        }
    }
}
