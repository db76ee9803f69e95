//! Which addresses the variable `NO_PROXY` excludes from a proxy, by the rules of Go, and so of `kubectl`.

use std::net::IpAddr;

use http::Uri;

const HTTPS_PORT: u16 = 443;

/// Whether requests to `address` use no proxy of the environment. `list` is the value of `NO_PROXY`.
///
/// Addresses of this machine never use one.
pub(super) fn excludes(list: &str, address: &Uri) -> bool {
    let host = address.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let port = address.port_u16().unwrap_or(HTTPS_PORT);
    let ip: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
        return true;
    }
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| match ip {
        _ if entry == "*" => true,
        _ if entry.is_empty() => false,
        Some(ip) => matches_ip(&entry, ip, port),
        None => matches_name(&entry, &host, port),
    })
}

fn matches_ip(entry: &str, ip: IpAddr, port: u16) -> bool {
    if let Some((network, length)) = entry.split_once('/') {
        let (Ok(network), Ok(length)) = (network.parse(), length.parse()) else { return false };
        return in_network(ip, network, length);
    }
    if let Ok(excluded) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
        return excluded == ip;
    }
    let (host, only_port) = split_port(entry);
    let excluded = host.trim_matches(['[', ']']).parse::<IpAddr>();
    excluded == Ok(ip) && only_port.is_none_or(|only| only == port)
}

fn in_network(ip: IpAddr, network: IpAddr, length: u32) -> bool {
    let (ip, network, bits) = match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            (u128::from(ip.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => (ip.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let Some(host_bits) = u32::checked_sub(bits, length) else { return false };
    (ip ^ network).checked_shr(host_bits).unwrap_or(0) == 0
}

/// `example.com` is that name and each name that ends with `.example.com`. `.example.com` and `*.example.com` are the
/// latter only.
fn matches_name(entry: &str, host: &str, port: u16) -> bool {
    let (name, only_port) = split_port(entry);
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    let parent = name.strip_prefix('.').unwrap_or(name);
    let is_below = host.strip_suffix(parent).is_some_and(|prefix| prefix.len() > 1 && prefix.ends_with('.'));
    let matches = !parent.is_empty() && (is_below || host == name);
    matches && only_port.is_none_or(|only| only == port)
}

fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, Some(port)),
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, excluded: &[&str], used: &[&str]) {
        for (hosts, expected) in [(excluded, true), (used, false)] {
            for host in hosts {
                let address = format!("https://{host}/api").parse().unwrap();
                assert_eq!(excludes(list, &address), expected, "{list} and {host}");
            }
        }
    }

    #[test]
    fn names() {
        check("example.com", &["example.com", "EXAMPLE.com", "api.example.com:6443"], &["notexample.com"]);
        for list in [".example.com", "*.example.com", "other , .EXAMPLE.com,"] {
            check(list, &["api.example.com", "a.b.example.com"], &["example.com", "notexample.com"]);
        }
        check("example.com:6443", &["example.com:6443", "api.example.com:6443"], &["example.com"]);
        check("example.com:443", &["example.com"], &["example.com:6443"]);
    }

    #[test]
    fn addresses() {
        check("10.1.2.3", &["10.1.2.3", "10.1.2.3:6443"], &["10.1.2.4", "10.1.2.3.example.com"]);
        check("10.1.2.3:6443", &["10.1.2.3:6443"], &["10.1.2.3"]);
        check("10.0.0.0/8,fd00::/8", &["10.200.0.1", "[fd12::1]:6443"], &["11.0.0.1", "[fe80::1]"]);
        check("0.0.0.0/0", &["1.2.3.4"], &["[fd12::1]"]);
        check("::/0", &["[fd12::1]"], &["1.2.3.4"]);
        check("10.1.2.3/32", &["10.1.2.3"], &["10.1.2.2"]);
        check("[fd12::1]:6443,fd12::2", &["[fd12::1]:6443", "[fd12::2]"], &["[fd12::1]"]);
        check("10.0.0.0/33,10.0.0.0/x,10.0.0", &[], &["10.0.0.1"]);
    }

    #[test]
    fn everything_and_this_machine() {
        check("*", &["example.com", "1.2.3.4", "[fd12::1]"], &[]);
        check("", &["localhost:6443", "127.0.0.1", "127.9.9.9", "[::1]:6443"], &["example.com", "10.0.0.1"]);
    }
}
