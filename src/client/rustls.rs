//! TLS by rustls. It asks the server for HTTP/2.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use kube::client::{ClientBuilder, ConfigExt};
use kube::{Client, Config};

use super::{ClientError, build, x509};

/// Makes a client for locks alone, with TLS by rustls. It connects faster than an ordinary client, speaks HTTP/2 if
/// the server does, and does not retry. Any number of locks may share it, and the locks of one process should.
///
/// The lock is exactly as safe on any other client: no promise of this crate depends on this one.
/// [`lock_client_with_connector`](crate::lock_client_with_connector) says what is different, and which settings of
/// the configuration apply.
///
/// ```no_run
/// use kube_lease_lock::{LeaseLock, lock_client};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = kube::Config::infer().await?;
/// let client = lock_client(&config)?;
/// let lock = LeaseLock::new(client, "nightly-report")?;
/// # Ok(())
/// # }
/// ```
///
/// The cryptography comes from the features `ring` (on by default) and `aws-lc-rs` of `kube`. As with kube's own
/// client, `aws-lc-rs` is used if both are enabled, unless the program has installed a provider.
///
/// # Certificates from a plugin
///
/// If an exec plugin gives a certificate, this function runs the plugin, and waits for it. The client uses that
/// certificate as long as it lives: make a new client, and new locks, before [`Client::valid_until`]. After that
/// time, the API server refuses the requests (401), and the client logs why.
///
/// # Errors
///
/// [`ClientError::Proxy`] if the configuration names a proxy that does not speak HTTP.
/// [`ClientError::CryptoProvider`] if rustls cannot choose a provider of cryptography. [`ClientError::Kube`] if a
/// credential, a header, a certificate or the server's name in the configuration cannot be used.
///
/// # Panics
///
/// Panics outside of a tokio runtime, as making any `kube::Client` does. If the program is built with
/// `panic = "abort"`, rustls ends it in the case of [`ClientError::CryptoProvider`].
pub fn lock_client(config: &Config) -> Result<Client, ClientError> {
    build(config, |config, tcp| {
        let tls = with_crypto_provider(|| config.rustls_client_config())??;
        let own_certificate = tls.client_auth_cert_resolver.resolve(&[], &[]);
        let certificate = own_certificate.as_ref().and_then(|own| own.cert.first());
        // A certificate of another origin is a matter of the application, as it is with kube's own client.
        let certificate = certificate.filter(|_| config.auth_info.exec.is_some());
        let valid_until = certificate.and_then(|certificate| x509::valid_until(certificate));

        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let builder = match config.tls_server_name.clone() {
            None => builder,
            Some(name) => {
                let name = name.try_into().map_err(|error| kube::Error::Service(Box::new(error)))?;
                builder.with_server_name_resolver(FixedServerNameResolver::new(name))
            }
        };
        Ok((builder.enable_all_versions().wrap_connector(tcp), valid_until))
    })
}

/// Does this with the provider of cryptography that kube's own client would use.
fn with_crypto_provider<T>(make: impl FnOnce() -> T) -> Result<T, ClientError> {
    // Only kube knows which of its features are enabled. It installs its provider before it refuses this proxy.
    let mut config = Config::new(Uri::from_static("http://localhost"));
    config.proxy_url = Some(Uri::from_static("none://localhost"));
    drop(ClientBuilder::try_from(config));
    // rustls panics if other crates have enabled several providers, and tells of it in no other way.
    catch_unwind(AssertUnwindSafe(make)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        match text.or_else(|| panic.downcast_ref().copied()) {
            Some(text) if text.contains("CryptoProvider") => ClientError::CryptoProvider,
            _ => resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_that_rustls_cannot_make_is_an_error() {
        let refuse = || -> () { panic!("no process-level CryptoProvider available") };
        let refused = with_crypto_provider(refuse).err().unwrap();
        assert!(refused.to_string().contains("install_default"), "{refused}");
    }

    #[test]
    #[should_panic(expected = "something else")]
    fn other_panics_continue() {
        let _ = with_crypto_provider(|| -> () { panic!("something else") });
    }
}
