//! The proxy between the client and the API server.

use std::error::Error;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use kube::Config;
use percent_encoding::percent_decode_str;

use super::{ClientError, no_proxy};

/// The variables of the environment that `Config::infer` takes a proxy from, if the kubeconfig names none.
const VARIABLES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A proxy that speaks HTTP, and where it comes from. Does not show the password.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    address: Uri,
    authorization: Option<HeaderValue>,
    origin: Origin,
}

#[derive(Clone, Copy, Debug)]
struct Origin(Option<&'static str>);

impl Proxy {
    /// The proxy that the configuration asks for, as `kubectl` understands it: `NO_PROXY` has exceptions from a proxy
    /// of the environment, but not from one of the kubeconfig.
    pub(super) fn of(
        config: &Config,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ClientError> {
        let Some(url) = &config.proxy_url else { return Ok(None) };
        let value = |names: [&'static str; 2]| {
            names
                .into_iter()
                .find_map(|name| Some((name, environment(name).filter(|value| !value.is_empty())?)))
        };
        let variable =
            value(VARIABLES).filter(|(_, value)| value.parse::<Uri>().is_ok_and(|value| value == *url));
        if variable.is_some() {
            let exceptions = value(EXCEPTIONS).map(|(_, list)| list).unwrap_or_default();
            let encrypts = config.cluster_url.scheme_str() == Some("https");
            if !encrypts || no_proxy::excludes(&exceptions, &config.cluster_url) {
                return Ok(None);
            }
        }
        let origin = Origin(variable.map(|(name, _)| name));
        let unsupported = || ClientError::Proxy {
            proxy: without_password(url),
            origin: origin.to_string(),
            host: config.cluster_url.host().unwrap_or_default().to_owned(),
        };
        let ("http", Some(authority)) = (url.scheme_str().unwrap_or("http"), url.authority()) else {
            return Err(unsupported());
        };
        let (login, host) = match authority.as_str().rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority.as_str()),
        };
        let address = format!("http://{host}/").parse().map_err(|_| unsupported())?;
        Ok(Some(Self { address, authorization: login.and_then(basic), origin }))
    }

    /// Connects through the proxy.
    pub(super) fn tunnel(&self, tcp: HttpConnector) -> Tunnel<HttpConnector> {
        let tunnel = Tunnel::new(self.address.clone(), tcp);
        match self.authorization.clone() {
            Some(authorization) => tunnel.with_auth(authorization),
            None => tunnel,
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.address, self.origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(variable) => write!(formatter, "from the environment variable `{variable}`"),
            None => formatter.write_str("from `proxy-url` of the kubeconfig, or `Config::proxy_url`"),
        }
    }
}

fn basic(login: &str) -> Option<HeaderValue> {
    let decoded: Vec<u8> = percent_decode_str(login).collect();
    HeaderValue::try_from(format!("Basic {}", BASE64.encode(decoded))).ok()
}

fn without_password(url: &Uri) -> String {
    let host = url.authority().map_or("", |authority| authority.as_str());
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{}://{host}", url.scheme_str().unwrap_or("http"))
}

/// The proxy gave no connection to the API server.
#[derive(Debug, thiserror::Error)]
#[error("no connection through the proxy {proxy}")]
pub(super) struct TunnelFailed {
    pub(super) proxy: Proxy,
    pub(super) source: Box<dyn Error + Send + Sync>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(cluster: &str, proxy: &str, environment: &[(&str, &str)]) -> Result<Option<Proxy>, ClientError> {
        let mut config = Config::new(cluster.parse().unwrap());
        config.proxy_url = Some(proxy.parse().unwrap());
        let value = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        Proxy::of(&config, |name| value(name).map(str::to_owned))
    }

    const CLUSTER: &str = "https://api.example.com:6443";
    const PROXY: &str = "http://proxy:3128";

    #[test]
    fn no_proxy_has_exceptions_from_the_environment_only() {
        let of_environment = |no_proxy| {
            let environment = [("HTTPS_PROXY", PROXY), no_proxy];
            proxy(CLUSTER, PROXY, &environment).unwrap()
        };
        for variable in EXCEPTIONS {
            assert!(of_environment((variable, "localhost,.example.com")).is_none());
            assert!(of_environment((variable, "*")).is_none());
            let used = of_environment((variable, "localhost,.example.org")).unwrap().to_string();
            assert_eq!(used, "http://proxy:3128/ (from the environment variable `HTTPS_PROXY`)");
        }
        let of_kubeconfig = proxy(CLUSTER, PROXY, &[("HTTPS_PROXY", "http://other"), ("NO_PROXY", "*")]);
        let used = of_kubeconfig.unwrap().unwrap().to_string();
        assert!(used.contains("kubeconfig"), "{used}");
    }

    #[test]
    fn the_environment_names_no_proxy_for_this_machine_and_without_tls() {
        for cluster in ["https://127.0.0.1:6443", "https://localhost:6443", "http://api.example.com"] {
            assert!(proxy(cluster, PROXY, &[("https_proxy", PROXY)]).unwrap().is_none(), "{cluster}");
        }
    }

    #[test]
    fn an_unsupported_proxy_is_named_without_its_password() {
        for url in ["socks5://me:secret@proxy:1080", "https://me:secret@proxy"] {
            let refused = proxy(CLUSTER, url, &[("HTTPS_PROXY", url)]).err().unwrap().to_string();
            assert!(refused.contains("://proxy") && refused.contains("`HTTPS_PROXY`"), "{refused}");
            assert!(refused.contains("NO_PROXY") && refused.contains("api.example.com"), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn the_login_is_decoded() {
        let proxy = proxy(CLUSTER, "http://me:p%40ss@proxy:3128", &[]).unwrap().unwrap();
        assert_eq!(proxy.authorization.as_ref().unwrap(), "Basic bWU6cEBzcw==");
        assert!(!proxy.to_string().contains("p%40ss"), "{proxy}");
        assert_eq!(proxy.address, "http://proxy:3128/");
        assert_eq!(super::tests::proxy(CLUSTER, "proxy:3128", &[]).unwrap().unwrap().address, proxy.address);
    }
}
