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

use crate::answer;
use crate::diff::diff;
use crate::normal::normalize;
use crate::request::Request;
use crate::support::ControlPlane;

/// More than any step takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A real server and ours, and all that they were asked in one script.
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
    answers: Vec<Value>,
    named: HashMap<String, Value>,
}

/// Sends a script to both servers and compares all that they say.
pub(crate) async fn compare(script: impl AsyncFnOnce(&mut Pair)) {
    let mut pair = Pair::new(ControlPlane::shared().await).await;
    script(&mut pair).await;
    pair.check();
}

/// The same with a real server that the script may harm.
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
        // A request is a request: 503 and the like are answers.
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

    /// The headline of the steps that follow.
    pub(crate) fn case(&mut self, headline: impl Into<String>) {
        self.case = headline.into();
    }

    /// One step.
    pub(crate) async fn send(&mut self, request: Request) {
        self.meanwhile(request, async |_| {}).await;
    }

    /// One step whose answer later ones refer to.
    pub(crate) async fn send_as(&mut self, name: &str, request: Request) {
        self.send(request).await;
        self.real.name_last(name);
        self.ours.name_last(name);
    }

    /// Steps that are taken at once, to save time: reads that wait.
    pub(crate) async fn send_all(&mut self, requests: Vec<Request>) {
        let ask = |side: &Side| join_all(requests.iter().map(|request| side.ask(request, &self.namespace)));
        let (real, ours) = tokio::join!(ask(&self.real), ask(&self.ours));
        self.steps.extend(requests.iter().map(|request| format!("{}: {request}", self.case)));
        self.real.answers.extend(real);
        self.ours.answers.extend(ours);
    }

    /// Steps that are taken while both servers are busy with another one, which counts as the last.
    pub(crate) async fn meanwhile(&mut self, request: Request, script: impl AsyncFnOnce(&mut Self)) {
        let step = format!("{}: {request}", self.case);
        let real = self.real.ask(&request, &self.namespace);
        let ours = self.ours.ask(&request, &self.namespace);
        let (real, ours, ()) = tokio::join!(real, ours, script(self));
        self.steps.push(step);
        self.real.answers.push(real);
        self.ours.answers.push(ours);
    }

    /// Gives the caches of the real server, which may be behind, the time to catch up.
    pub(crate) async fn settle(&self) {
        sleep(Duration::from_millis(500)).await;
    }

    /// Both servers forget what was before, the real one by a restart.
    pub(crate) async fn forget(&self, plane: &ControlPlane) {
        plane.restart().await;
        self.server.compact();
    }

    /// Begins the deletion of a namespace. The real one does not go: nobody runs the controller for that.
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
        let answers = normalize(&self.real.answers).into_iter().zip(normalize(&self.ours.answers));
        let mut different = Vec::new();
        for (number, (step, (real, ours))) in self.steps.iter().zip(answers).enumerate() {
            let lines = diff(&real, &ours);
            if !lines.is_empty() {
                different.push(format!("step {}: {step}\n{}", number + 1, lines.join("\n")));
            }
        }
        let count = self.steps.len();
        assert!(
            different.is_empty(),
            "{} of {count} answers differ:\n\n{}",
            different.len(),
            different.join("\n\n")
        );
    }
}

impl Side {
    fn new(client: Client) -> Self {
        Self { client, answers: Vec::new(), named: HashMap::new() }
    }

    fn ask(&self, request: &Request, namespace: &str) -> impl Future<Output = Value> + use<> {
        let request = request.build(|text| self.fill(text, namespace));
        let client = self.client.clone();
        let answer = async move { answer::read(client.send(request).await.expect("an answer")).await };
        async move { timeout(PATIENCE, answer).await.unwrap_or_else(|_| "no answer".into()) }
    }

    fn name_last(&mut self, name: &str) {
        let last = self.answers.last().cloned().unwrap_or_default();
        self.named.insert(name.to_owned(), last);
    }

    fn fill(&self, text: &str, namespace: &str) -> String {
        let mut text = text.replace("<ns>", namespace);
        for (name, answer) in &self.named {
            let metadata = &answer["body"]["metadata"];
            for (part, field) in [("uid", "uid"), ("rv", "resourceVersion")] {
                let value = metadata[field].as_str().unwrap_or_default();
                text = text.replace(&format!("<{name}.{part}>"), value);
            }
        }
        text
    }
}
