//! The versions of the systems, from the files that lock them.

const OURS: &str = include_str!("../../Cargo.lock");
const PEERS: &str = include_str!("../../../tests/peers/Cargo.lock");
const MODULES: &str = include_str!("../../../tests/control-plane/go.mod");

/// The version of this crate, or of a peer.
pub(crate) fn of_crate(name: &str) -> &'static str {
    let package = format!("name = \"{name}\"");
    let version = |lock: &'static str| lock.lines().skip_while(|line| *line != package).nth(1);
    let version = version(OURS).or_else(|| version(PEERS));
    version.and_then(|line| line.strip_prefix("version = ")).unwrap_or("?").trim_matches('"')
}

pub(crate) fn of_module(path: &str) -> &'static str {
    let version = MODULES.lines().find_map(|line| line.trim().strip_prefix(path)?.strip_prefix(" v"));
    version.unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_versions_are_known() {
        let ours = of_crate("kube-lease-lock");
        for version in [ours, of_crate("kubert"), of_crate("kube-coordinate"), of_module("k8s.io/client-go")]
        {
            assert!(version.starts_with(char::is_numeric), "{version}");
        }
    }
}
