//! Clients with connections of their own, as separate processes have.

use anyhow::Result;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use kube_lease_lock::{lock_client, rustls_connector};
use tower::{Layer, service_fn};

use crate::options::ClientKind;
use crate::tap::Tap;

/// A client of this kind whose requests go through `tap`. It shares no connection with any other.
pub(crate) fn client(kind: ClientKind, config: Config, tap: &Tap) -> Result<Client> {
    match kind {
        ClientKind::Ordinary => Ok(ClientBuilder::try_from(config)?.with_layer(tap).build()),
        ClientKind::Lock => {
            let client = lock_client(&config, rustls_connector)?;
            let send = service_fn(move |request| {
                let client = client.clone();
                async move { client.send(request).await }
            });
            Ok(Client::new(tap.layer(send), config.default_namespace))
        }
    }
}
