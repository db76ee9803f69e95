//! TLS by rustls, that asks for HTTP/2.

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use kube::Config;
use kube::client::ConfigExt;

/// TLS for [`lock_client`](crate::lock_client), by rustls, with what the configuration has of certificates, keys and the
/// server's name.
///
/// Unlike `ConfigExt::rustls_https_connector_with_connector` it asks the server for HTTP/2, and takes HTTP/1.1 from a
/// server that does not speak it.
///
/// # Errors
///
/// If a certificate, a key or the server's name in the configuration cannot be used.
///
/// # Panics
///
/// If rustls has no provider of cryptography: enable `ring` or `aws-lc-rs` of `kube`, one of which it has by default, or
/// install one. As kube's own clients do.
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
