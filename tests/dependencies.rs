//! What comes with this crate: from where, under which licences, in how many versions.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// Fine in any program.
const LICENCES: [&str; 5] = ["Apache-2.0", "BSD-3-Clause", "MIT", "Unicode-3.0", "Zlib"];
/// They come with TLS by rustls, which tests use, and applications may choose.
const LICENCES_OF_TESTS: [&str; 2] = ["CDLA-Permissive-2.0", "ISC"];
/// Without which no client speaks HTTP/2.
const HTTP_2: [&str; 5] = ["equivalent", "fnv", "h2", "hashbrown", "indexmap"];
/// Types of these are in the API, or have to be the same for everybody in the process.
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

/// What a user gets with all features of this crate that leave TLS to the application, as `name version`.
fn shipped() -> BTreeSet<String> {
    shipped_with("--features=client,testing")
}

/// The metadata cannot tell: there, what tests ask of a package and what the library asks of it is one.
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
fn all_come_from_crates_io() {
    for package in Dependencies::read().foreign() {
        let source = &package["source"];
        assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{}", package["name"]);
    }
}

#[test]
fn all_have_licences_that_anybody_can_live_with() {
    let (dependencies, shipped) = (Dependencies::read(), shipped());
    assert!(shipped.len() > 50, "this is not all: {shipped:?}");
    for package in dependencies.foreign() {
        let licence = package["license"].as_str().unwrap_or_default();
        let expression = Expression::parse_mode(licence, ParseMode::LAX);
        let expression = expression.unwrap_or_else(|error| panic!("{}: {error}", package["name"]));
        let text = |field: &str| package[field].as_str().unwrap();
        let of_tests = !shipped.contains(&format!("{} {}", text("name"), text("version")));
        let fine = expression.evaluate(|requirement| {
            let Some(id) = requirement.license.id().map(|id| id.name) else { return false };
            LICENCES.contains(&id) || of_tests && LICENCES_OF_TESTS.contains(&id)
        });
        assert!(fine, "{}: {licence}", package["name"]);
    }
}

#[test]
fn what_everybody_shares_comes_once() {
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
fn features_bring_nothing_that_kube_does_not_bring_anyway_except_http_2() {
    for (feature, of_kube) in [
        ("--features=testing", "--no-default-features"),
        ("--features=client", "--no-default-features"),
        ("--features=rustls-tls", "--features=kube/rustls-tls"),
    ] {
        let (with, without) = (shipped_with(feature), shipped_with(of_kube));
        let brought = with.difference(&without).map(|package| package.split(' ').next().unwrap());
        let unexpected: Vec<_> = brought.filter(|name| !HTTP_2.contains(name)).collect();
        assert!(unexpected.is_empty(), "{feature} brings {unexpected:?}");
    }
}

#[test]
fn docs_rs_is_told_features_that_exist() {
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
