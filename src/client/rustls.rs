//! TLS by rustls. It asks the server for HTTP/2.

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use kube::Config;
use kube::client::ConfigExt;

/// TLS for [`lock_client`](crate::lock_client), by rustls. It uses the certificates, the keys and the server's name
/// of the configuration.
///
/// Unlike `ConfigExt::rustls_https_connector_with_connector`, it asks the server for HTTP/2. If the server does not
/// speak HTTP/2, it uses HTTP/1.1.
///
/// # Errors
///
/// It fails if a certificate, a key or the server's name in the configuration cannot be used.
///
/// # Panics
///
/// Panics if rustls has no provider of cryptography, as kube's own clients do. Enable the feature `ring` (on by
/// default) or `aws-lc-rs` of `kube`, or install a provider.
pub fn rustls_connector<T>(config: &Config, tcp: T) -> kube::Result<HttpsConnector<T>> {
    let builder =
        HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    let builder = match config.tls_server_name.clone() {
        None => builder,
        Some(name) => {
            let name = name.try_into().map_err(|error| kube::Error::Service(Box::new(error)))?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
    };
    Ok(builder.enable_all_versions().wrap_connector(tcp))
}
