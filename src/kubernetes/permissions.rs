//! What this client may do with the Lease, as the API server says itself.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::core::Request;

use super::classify::Failure;
use super::requests::LeaseClient;

/// The RBAC verbs that a lock needs.
pub(crate) const VERBS: [&str; 5] = ["get", "watch", "create", "update", "patch"];

const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

impl LeaseClient {
    /// Whether this client may do `verb` to the Lease. Every user may ask that, unless an administrator has taken it away.
    pub(crate) async fn may(&self, verb: &'static str) -> Result<bool, Failure> {
        let attributes = ResourceAttributes {
            group: Some("coordination.k8s.io".to_owned()),
            resource: Some("leases".to_owned()),
            namespace: Some(self.lease().namespace().to_owned()),
            name: Some(self.lease().name().to_owned()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
            ..SelfSubjectAccessReview::default()
        };
        let body = serde_json::to_vec(&review).map_err(|error| self.malformed(verb, error.to_string()))?;
        let request = Request::new(PATH).create(&PostParams::default(), body);
        let answer: SelfSubjectAccessReview = self.ask(verb, request).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}
