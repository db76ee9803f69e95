//! Clients with connections of their own, as if each were in a process of its own.

use anyhow::Result;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use kube_lease_lock::lock_client;
use tower::{Layer, service_fn};

use crate::options::ClientKind;
use crate::recorder::Recorder;

/// A client of this kind, whose requests `recorder` records. It shares no connection with other clients.
pub(crate) fn client(kind: ClientKind, config: Config, recorder: &Recorder) -> Result<Client> {
    match kind {
        ClientKind::Ordinary => Ok(ClientBuilder::try_from(config)?.with_layer(recorder).build()),
        ClientKind::Lock => {
            let client = lock_client(&config)?;
            let send = service_fn(move |request| {
                let client = client.clone();
                async move { client.send(request).await }
            });
            Ok(Client::new(recorder.layer(send), config.default_namespace))
        }
    }
}
