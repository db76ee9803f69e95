//! The dependencies of this crate: their sources, licences and versions.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// Licences that any program can accept.
const LICENCES: [&str; 5] = ["Apache-2.0", "BSD-3-Clause", "MIT", "Unicode-3.0", "Zlib"];
/// Licences of dependencies of rustls. Tests use it, and applications may choose it.
const LICENCES_OF_TESTS: [&str; 2] = ["CDLA-Permissive-2.0", "ISC"];
/// The crates that a client needs for HTTP/2.
const HTTP_2: [&str; 5] = ["equivalent", "fnv", "h2", "hashbrown", "indexmap"];
/// Crates whose types are in the API, or of which a process must have only one version.
const ONE_VERSION: [&str; 10] = [
    "http",
    "hyper",
    "hyper-rustls",
    "hyper-util",
    "jiff",
    "k8s-openapi",
    "kube",
    "kube-core",
    "tokio",
    "tokio-util",
];

struct Dependencies {
    packages: Vec<Value>,
}

impl Dependencies {
    fn read() -> Self {
        let metadata: Value = serde_json::from_str(&cargo("metadata", &["--format-version=1"])).unwrap();
        Self { packages: metadata["packages"].as_array().unwrap().clone() }
    }

    fn own(&self) -> &Value {
        self.packages.iter().find(|package| package["source"].is_null()).unwrap()
    }

    fn foreign(&self) -> impl Iterator<Item = &Value> {
        self.packages.iter().filter(|package| package["name"] != "kube-lease-lock")
    }
}

/// The crates that a user gets with all features except TLS, as `name version`.
fn shipped() -> BTreeSet<String> {
    shipped_with("--features=client,testing")
}

/// `cargo tree` is needed for this. The metadata does not separate the features that tests need from those that the
/// library needs.
fn shipped_with(features: &str) -> BTreeSet<String> {
    let tree = cargo("tree", &[features, "--edges=normal", "--target=all", "--prefix=none", "--format={p}"]);
    let name_and_version = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        format!("{name} {}", words.next().unwrap_or_default().trim_start_matches('v'))
    };
    tree.lines().filter(|line| !line.is_empty()).map(name_and_version).collect()
}

fn cargo(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args([command, "--locked", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .args(arguments)
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn all_dependencies_come_from_crates_io() {
    for package in Dependencies::read().foreign() {
        let source = &package["source"];
        assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{}", package["name"]);
    }
}

#[test]
fn all_licences_are_acceptable() {
    let (dependencies, shipped) = (Dependencies::read(), shipped());
    assert!(shipped.len() > 50, "the list is incomplete: {shipped:?}");
    for package in dependencies.foreign() {
        let licence = package["license"].as_str().unwrap_or_default();
        let expression = Expression::parse_mode(licence, ParseMode::LAX);
        let expression = expression.unwrap_or_else(|error| panic!("{}: {error}", package["name"]));
        let text = |field: &str| package[field].as_str().unwrap();
        let of_tests = !shipped.contains(&format!("{} {}", text("name"), text("version")));
        let acceptable = expression.evaluate(|requirement| {
            let Some(id) = requirement.license.id().map(|id| id.name) else { return false };
            LICENCES.contains(&id) || of_tests && LICENCES_OF_TESTS.contains(&id)
        });
        assert!(acceptable, "{}: {licence}", package["name"]);
    }
}

#[test]
fn shared_crates_have_one_version() {
    let dependencies = Dependencies::read();
    for name in ONE_VERSION {
        let versions = dependencies.foreign().filter(|package| package["name"] == name);
        let versions: Vec<_> = versions.map(|package| package["version"].as_str().unwrap()).collect();
        assert_eq!(versions.len(), 1, "{name} {versions:?}");
    }
}

#[test]
fn tls_and_the_version_of_kubernetes_are_left_to_the_application() {
    let dependencies = Dependencies::read();
    let own = dependencies.own()["dependencies"].as_array().unwrap();
    let normal = |name| own.iter().find(|it| it["name"] == name && it["kind"].is_null()).unwrap();
    assert_eq!(normal("k8s-openapi")["features"], serde_json::json!([]));
    assert_eq!(normal("kube")["features"], serde_json::json!(["client"]));
    for name in ["k8s-openapi", "kube"] {
        assert_eq!(normal(name)["uses_default_features"], false, "{name}");
    }
    let tls = |package: &&String| {
        ["rustls ", "openssl ", "native-tls ", "ring ", "aws-lc-rs "]
            .iter()
            .any(|tls| package.starts_with(tls))
    };
    assert_eq!(shipped().iter().find(tls), None);
}

#[test]
fn features_add_no_crates_beyond_those_of_kube_except_for_http_2() {
    for (feature, of_kube) in [
        ("--features=testing", "--no-default-features"),
        ("--features=client", "--no-default-features"),
        ("--features=rustls-tls", "--features=kube/rustls-tls"),
    ] {
        let (with, without) = (shipped_with(feature), shipped_with(of_kube));
        let added = with.difference(&without).map(|package| package.split(' ').next().unwrap());
        let unexpected: Vec<_> = added.filter(|name| !HTTP_2.contains(name)).collect();
        assert!(unexpected.is_empty(), "{feature} adds {unexpected:?}");
    }
}

#[test]
fn the_features_for_docs_rs_exist() {
    let dependencies = Dependencies::read();
    let own = dependencies.own();
    for feature in own["metadata"]["docs"]["rs"]["features"].as_array().unwrap() {
        let feature = feature.as_str().unwrap();
        let (package, feature) = match feature.split_once('/') {
            None => (own, feature),
            Some((name, feature)) => {
                (dependencies.foreign().find(|package| package["name"] == name).unwrap(), feature)
            }
        };
        assert!(package["features"].get(feature).is_some(), "{feature}");
    }
}
