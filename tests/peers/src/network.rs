//! Holds requests or replies back on order: as a network does that is slow, or cut off for a while.

use std::sync::Arc;

use http::{Method, Request};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::sync::watch;

/// The way to the API server, for a client of any version of kube.
#[derive(Clone)]
pub struct Network(Arc<watch::Sender<String>>);

impl Default for Network {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new("pass".to_owned())))
    }
}

impl Network {
    /// Takes orders until standard input closes: `hold requests` or `hold replies`, all or those of one method, as in
    /// `hold requests PATCH`; or `pass`. Each replaces the last one, for what is held back too.
    pub async fn take_orders(&self) {
        let mut orders = BufReader::new(stdin()).lines();
        while let Ok(Some(order)) = orders.next_line().await {
            println!("obeying {order}");
            self.0.send_replace(order);
        }
    }

    /// Has a request sent, and returns the reply.
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

    /// Returns when `what` is not held back.
    async fn pass(&self, what: &str, method: &Method) {
        let all = format!("hold {what}");
        let these = format!("{all} {method}");
        let held = |order: &str| order == all || order == these;
        let mut orders = self.0.subscribe();
        if held(&orders.borrow()) {
            println!("holding {what} {method}");
        }
        // The sender is ours, so this cannot fail.
        let _ = orders.wait_for(|order| !held(order)).await;
    }
}

/// A client of one of the versions of kube, by this way.
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
