//! Holds requests or replies back by order, like a network that is slow or disconnected for a while.

use std::sync::Arc;

use http::{Method, Request};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::sync::watch;

/// The network between a client, of any version of kube, and the API server.
#[derive(Clone)]
pub struct Network(Arc<watch::Sender<String>>);

impl Default for Network {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new("pass".to_owned())))
    }
}

impl Network {
    /// Reads orders until standard input closes: `hold requests`, `hold replies` or `pass`. `hold` affects all
    /// requests, or those of one method, as in `hold requests PATCH`. Each order replaces the one before, also for
    /// requests that are held back.
    pub async fn read_orders(&self) {
        let mut orders = BufReader::new(stdin()).lines();
        while let Ok(Some(order)) = orders.next_line().await {
            println!("obeying {order}");
            self.0.send_replace(order);
        }
    }

    /// Sends a request, and returns the reply.
    pub async fn carry<B, F: Future>(
        &self,
        request: Request<B>,
        send: impl FnOnce(Request<B>) -> F,
    ) -> F::Output {
        let method = request.method().clone();
        self.pass("requests", &method).await;
        let reply = send(request).await;
        self.pass("replies", &method).await;
        reply
    }

    /// Waits until `what` is not held back.
    async fn pass(&self, what: &str, method: &Method) {
        let all = format!("hold {what}");
        let of_method = format!("{all} {method}");
        let held = |order: &str| order == all || order == of_method;
        let mut orders = self.0.subscribe();
        if held(&orders.borrow()) {
            println!("holding {what} {method}");
        }
        // This cannot fail, because `self` has the sender.
        let _ = orders.wait_for(|order| !held(order)).await;
    }
}

/// Makes a client of one version of kube that uses this network.
macro_rules! client {
    ($kube:ident, $settings:expr, $network:expr) => {{
        use $kube::config::{Config, KubeConfigOptions, Kubeconfig};
        let kubeconfig = Kubeconfig::read_from(&$settings.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let (inner, network) = ($kube::Client::try_from(config)?, $network.clone());
        let service = tower::service_fn(move |request| {
            let (inner, network) = (inner.clone(), network.clone());
            async move { network.carry(request, |request| inner.send(request)).await }
        });
        $kube::Client::new(service, &$settings.namespace)
    }};
}
pub(crate) use client;
