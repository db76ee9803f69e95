//! Two servers that get the same requests.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::DeleteParams;
use kube::{Api, Client};
use kube_lease_lock::testing::LeaseServer;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::diff::diff;
use crate::normal::normalize;
use crate::request::Request;
use crate::response;
use crate::support::ControlPlane;

/// The longest time that a step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// A real server and ours, and the requests and responses of one script.
pub(crate) struct Pair {
    server: LeaseServer,
    namespace: String,
    steps: Vec<String>,
    real: Side,
    ours: Side,
    case: String,
}

struct Side {
    client: Client,
    responses: Vec<Value>,
    named: HashMap<String, Value>,
}

/// Runs a script against both servers, and compares their responses.
pub(crate) async fn compare(script: impl AsyncFnOnce(&mut Pair)) {
    let mut pair = Pair::new(ControlPlane::shared().await).await;
    script(&mut pair).await;
    pair.check();
}

/// The same with a real server of its own, which the script may restart.
pub(crate) async fn compare_alone(script: impl AsyncFnOnce(&mut Pair, &ControlPlane)) {
    let plane = ControlPlane::start().await;
    let mut pair = Pair::new(&plane).await;
    script(&mut pair, &plane).await;
    pair.check();
}

impl Pair {
    async fn new(plane: &ControlPlane) -> Self {
        let namespace = plane.fresh_namespace().await;
        let mut config = plane.config().await;
        // The client must not retry: a 503 is a response to compare.
        config.default_retry = false;
        let server = LeaseServer::new();
        server.create_namespace(&namespace);
        Self {
            real: Side::new(Client::try_from(config).unwrap()),
            ours: Side::new(server.connect().client()),
            server,
            namespace,
            steps: Vec::new(),
            case: String::new(),
        }
    }

    /// Sets the headline of the steps that follow.
    pub(crate) fn case(&mut self, headline: impl Into<String>) {
        self.case = headline.into();
    }

    /// Takes one step.
    pub(crate) async fn send(&mut self, request: Request) {
        self.meanwhile(request, async |_| {}).await;
    }

    /// Takes one step. Later steps can refer to its response by `name`.
    pub(crate) async fn send_as(&mut self, name: &str, request: Request) {
        self.send(request).await;
        self.real.name_last(name);
        self.ours.name_last(name);
    }

    /// Checks that the last step had this result on the real server: without it the next steps would test nothing.
    pub(crate) fn expect(&self, code: u16) {
        let last = self.real.responses.last().expect("a step");
        assert_eq!(last["code"], code, "{last}");
    }

    /// Takes several steps at once, to save time: reads that wait.
    pub(crate) async fn send_all(&mut self, requests: Vec<Request>) {
        let ask = |side: &Side| join_all(requests.iter().map(|request| side.ask(request, &self.namespace)));
        let (real, ours) = tokio::join!(ask(&self.real), ask(&self.ours));
        self.steps.extend(requests.iter().map(|request| format!("{}: {request}", self.case)));
        self.real.responses.extend(real);
        self.ours.responses.extend(ours);
    }

    /// Takes the steps of `script` while both servers process `request`, which counts as the last step.
    pub(crate) async fn meanwhile(&mut self, request: Request, script: impl AsyncFnOnce(&mut Self)) {
        let step = format!("{}: {request}", self.case);
        let real = self.real.ask(&request, &self.namespace);
        let ours = self.ours.ask(&request, &self.namespace);
        let (real, ours, ()) = tokio::join!(real, ours, script(self));
        self.steps.push(step);
        self.real.responses.push(real);
        self.ours.responses.push(ours);
    }

    /// Waits until the caches of the real server have caught up.
    pub(crate) async fn wait_for_caches(&self) {
        sleep(Duration::from_millis(500)).await;
    }

    /// Makes both servers forget their history, the real one by a restart.
    pub(crate) async fn forget(&self, plane: &ControlPlane) {
        plane.restart().await;
        self.server.compact();
    }

    /// Begins the deletion of a namespace. The real one stays, because no controller runs that would delete it.
    pub(crate) async fn terminate_namespace(&self, name: &str) {
        let namespaces = Api::<Namespace>::all(self.real.client.clone());
        namespaces.delete(name, &DeleteParams::default()).await.unwrap();
        self.server.terminate_namespace(name);
    }

    /// Creates another namespace, and returns its name.
    pub(crate) async fn another_namespace(&self) -> String {
        let name = ControlPlane::shared().await.fresh_namespace().await;
        self.server.create_namespace(&name);
        name
    }

    fn check(self) {
        let responses = normalize(&self.real.responses).into_iter().zip(normalize(&self.ours.responses));
        let mut different = Vec::new();
        for (number, (step, (real, ours))) in self.steps.iter().zip(responses).enumerate() {
            let lines = diff(&real, &ours);
            if !lines.is_empty() {
                different.push(format!("step {}: {step}\n{}", number + 1, lines.join("\n")));
            }
        }
        let count = self.steps.len();
        assert!(
            different.is_empty(),
            "{} of {count} responses differ:\n\n{}",
            different.len(),
            different.join("\n\n")
        );
    }
}

impl Side {
    fn new(client: Client) -> Self {
        Self { client, responses: Vec::new(), named: HashMap::new() }
    }

    fn ask(&self, request: &Request, namespace: &str) -> impl Future<Output = Value> + use<> {
        let request = request.build(|text| self.fill(text, namespace));
        let client = self.client.clone();
        let response = async move { response::read(client.send(request).await.expect("a response")).await };
        async move { timeout(STEP_TIMEOUT, response).await.unwrap_or_else(|_| "no response".into()) }
    }

    fn name_last(&mut self, name: &str) {
        let last = self.responses.last().cloned().unwrap_or_default();
        self.named.insert(name.to_owned(), last);
    }

    fn fill(&self, text: &str, namespace: &str) -> String {
        let mut text = text.replace("<ns>", namespace);
        for (name, response) in &self.named {
            let metadata = &response["body"]["metadata"];
            for (part, field) in [("uid", "uid"), ("rv", "resourceVersion")] {
                let value = metadata[field].as_str().unwrap_or_default();
                text = text.replace(&format!("<{name}.{part}>"), value);
            }
        }
        text
    }
}
