//! Clients with connections of their own, as separate processes have.

use anyhow::Result;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use crate::options::ClientKind;
use crate::tap::Tap;

/// A client of this kind whose requests go through `tap`. It shares no connection with any other.
pub(crate) fn client(kind: ClientKind, config: Config, tap: &Tap) -> Result<Client> {
    match kind {
        ClientKind::Ordinary => Ok(ClientBuilder::try_from(config)?.with_layer(tap).build()),
        ClientKind::Nodelay => nodelay(&config, tap),
    }
}

fn nodelay(config: &Config, tap: &Tap) -> Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let service = ServiceBuilder::new()
        .layer(tap)
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(tls));
    Ok(Client::new(service, config.default_namespace.clone()))
}
