//! Permissions of the users that tests impersonate.

use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use serde_json::Value;
use tokio::time::sleep;

use super::ControlPlane;

const PERMISSION_TIMEOUT: Duration = Duration::from_secs(10);

impl ControlPlane {
    /// Grants `user` the roles in a YAML stream, for example one from the documentation. The roles and bindings are
    /// created in `namespace`, with `user` as the only subject. A role without a binding gets one.
    pub(crate) async fn grant(&self, namespace: &str, user: &str, manifests: &str) {
        let (roles, mut bindings) = parse(manifests);
        let unbound = roles.iter().filter(|role| !bindings.iter().any(|binding| refers_to(binding, role)));
        bindings.extend(unbound.map(binding_of).collect::<Vec<_>>());

        let client = self.client().await;
        for role in &roles {
            let created =
                Api::namespaced(client.clone(), namespace).create(&PostParams::default(), role).await;
            created.expect("a Role created");
        }
        for mut binding in bindings {
            binding.subjects = Some(vec![subject(user)]);
            let created =
                Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &binding).await;
            created.expect("a RoleBinding created");
        }
        let permissions = roles.into_iter().flat_map(|role| role.rules.unwrap_or_default()).collect();
        self.wait_until_effective(namespace, user, permissions).await;
    }

    /// Deletes a role and its binding.
    pub(crate) async fn revoke(&self, namespace: &str, role: &str) {
        let client = self.client().await;
        let (bindings, roles) = (
            Api::<RoleBinding>::namespaced(client.clone(), namespace),
            Api::<Role>::namespaced(client, namespace),
        );
        bindings.delete(role, &DeleteParams::default()).await.expect("a RoleBinding deleted");
        roles.delete(role, &DeleteParams::default()).await.expect("a Role deleted");
    }

    /// Waits for the authorizer, which learns of new bindings a moment after they were created.
    async fn wait_until_effective(&self, namespace: &str, user: &str, mut missing: Vec<PolicyRule>) {
        let reviews = Api::all(self.client_as(user).await);
        let review = SelfSubjectRulesReview {
            spec: SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) },
            ..SelfSubjectRulesReview::default()
        };
        let deadline = Instant::now() + PERMISSION_TIMEOUT;
        loop {
            let answer =
                reviews.create(&PostParams::default(), &review).await.expect("a review of the rules");
            let effective = answer.status.expect("the outcome of the review").resource_rules;
            missing.retain(|rule| {
                !effective.iter().any(|it| {
                    it.verbs == rule.verbs
                        && it.resources == rule.resources
                        && it.resource_names == rule.resource_names
                })
            });
            if missing.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{user} was granted {missing:?}, but it has no effect");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn parse(manifests: &str) -> (Vec<Role>, Vec<RoleBinding>) {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifests).expect("manifests in YAML");
    let (mut roles, mut bindings) = (Vec::new(), Vec::new());
    for mut document in documents {
        document["metadata"]["namespace"] = Value::Null;
        match document["kind"].as_str() {
            Some("Role") => roles.push(serde_json::from_value(document).expect("a Role")),
            Some("RoleBinding") => {
                bindings.push(serde_json::from_value(document).expect("a RoleBinding"));
            }
            kind => panic!("expected a Role or a RoleBinding, not {kind:?}"),
        }
    }
    (roles, bindings)
}

fn refers_to(binding: &RoleBinding, role: &Role) -> bool {
    Some(&binding.role_ref.name) == role.metadata.name.as_ref()
}

fn binding_of(role: &Role) -> RoleBinding {
    let name = role.metadata.name.clone();
    RoleBinding {
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "Role".to_owned(),
            name: name.clone().expect("the name of a Role"),
        },
        metadata: ObjectMeta { name, ..ObjectMeta::default() },
        subjects: None,
    }
}

fn subject(user: &str) -> Subject {
    Subject {
        api_group: Some("rbac.authorization.k8s.io".to_owned()),
        kind: "User".to_owned(),
        name: user.to_owned(),
        namespace: None,
    }
}
