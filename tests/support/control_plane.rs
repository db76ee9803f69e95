//! The API server, as tests use it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, Error};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::audit::{self, Request};
use super::find;
use super::process::{Options, Process};

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A Kubernetes API server: either one that runs already, or one that the tests start.
pub(crate) struct ControlPlane {
    kubeconfig: PathBuf,
    process: Option<Arc<Mutex<Process>>>,
}

impl ControlPlane {
    /// The server for the whole test binary, which starts at the first use and ends with the test process.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async {
                match find::kubeconfig() {
                    Some(kubeconfig) => Self { kubeconfig, process: None },
                    None => Self::start().await,
                }
            })
            .await
    }

    /// Starts a server for the caller alone, which may kill, pause and restart it. It ends when it is dropped.
    pub(crate) async fn start() -> Self {
        Self::launch(Options::default()).await
    }

    /// Like [`start`](Self::start), with an audit log: see [`requests`](Self::requests).
    pub(crate) async fn start_audited() -> Self {
        Self::launch(Options { audit: true, ..Options::default() }).await
    }

    /// Like [`start`](Self::start), with coordinated leader elections (KEP-4355).
    pub(crate) async fn start_coordinated() -> Self {
        Self::launch(Options { coordinated: true, ..Options::default() }).await
    }

    /// Like [`start`](Self::start), with etcd in a process of its own: see [`pause_etcd`](Self::pause_etcd).
    pub(crate) async fn start_with_separate_etcd() -> Self {
        Self::launch(Options { separate_etcd: true, ..Options::default() }).await
    }

    async fn launch(options: Options) -> Self {
        let process = blocking(move || Process::start(options)).await;
        let plane =
            Self { kubeconfig: process.path("kubeconfig"), process: Some(Arc::new(Mutex::new(process))) };
        plane.ready().await;
        plane
    }

    /// The path of the kubeconfig of an administrator, for other programs.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The configuration of an administrator.
    pub(crate) async fn config(&self) -> Config {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)
            .unwrap_or_else(|error| panic!("{}: {error}", self.kubeconfig.display()));
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        config.unwrap_or_else(|error| panic!("{}: {error}", self.kubeconfig.display()))
    }

    /// A client of an administrator, with connections of its own. It belongs to the runtime of the calling test, so two
    /// tests cannot share it.
    pub(crate) async fn client(&self) -> Client {
        client(self.config().await)
    }

    /// A client of a user that has only the permissions from [`grant`](Self::grant).
    pub(crate) async fn client_as(&self, user: &str) -> Client {
        let mut config = self.config().await;
        config.auth_info.impersonate = Some(user.to_owned());
        client(config)
    }

    /// Creates a namespace. In a foreign cluster it stays behind, and can be found by its label.
    pub(crate) async fn fresh_namespace(&self) -> String {
        let labels = [("app.kubernetes.io/created-by".to_owned(), "kube-lease-lock-tests".to_owned())];
        let namespace = Namespace {
            metadata: ObjectMeta {
                generate_name: Some("kube-lease-lock-test-".to_owned()),
                labels: Some(labels.into()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let created = Api::all(self.client().await).create(&PostParams::default(), &namespace).await;
        let created = created.expect("a namespace created: is the user of the kubeconfig an administrator?");
        created.metadata.name.expect("the name that the server generated")
    }

    /// The version of Kubernetes, such as `v1.37.2`.
    pub(crate) async fn version(&self) -> String {
        let version = self.client().await.apiserver_version().await;
        version.expect("the version of the API server").git_version
    }

    /// The version of etcd, such as `3.7.0`.
    pub(crate) fn etcd_version(&self) -> String {
        lock(&self.own()).field("etcd").to_owned()
    }

    /// The URL for clients of its etcd, if the tests started it.
    pub(crate) fn etcd_url(&self) -> Option<String> {
        self.process.as_ref().map(|process| lock(process).field("etcdUrl").to_owned())
    }

    /// All requests that were answered so far, in that order. Needs [`start_audited`](Self::start_audited). A watch
    /// counts as soon as it is answered.
    pub(crate) fn requests(&self) -> Vec<Request> {
        audit::read(&lock(&self.own()).path("audit"))
    }

    /// Waits until the server is ready and has the namespace `default`.
    pub(crate) async fn ready(&self) {
        let deadline = Instant::now() + READY_TIMEOUT;
        while let Err(error) = self.try_default_namespace().await {
            assert!(
                Instant::now() < deadline,
                "the API server is not ready after {READY_TIMEOUT:?}: {error}\n{}",
                lock(&self.own()).log_tail()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn try_default_namespace(&self) -> Result<(), Error> {
        let mut config = self.config().await;
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let readyz = http::Request::get("/readyz").body(Vec::new());
        client.request_text(readyz.map_err(Error::HttpError)?).await?;
        Api::<Namespace>::all(client).get("default").await.map(drop)
    }

    pub(super) fn own(&self) -> Arc<Mutex<Process>> {
        let process = self.process.as_ref();
        Arc::clone(process.expect("a control plane that the tests started: a foreign cluster cannot do this"))
    }
}

fn client(config: Config) -> Client {
    Client::try_from(config).expect("a client for the configuration")
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

pub(super) fn lock(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}
