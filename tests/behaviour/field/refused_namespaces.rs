//! A platform that keeps a namespace for itself: no Role helps, so the words of the platform have to be seen.

use kube_lease_lock::testing::LeaseServer;
use kube_lease_lock::{AcquireError, LeaseLock};

use crate::fixture::NAME;
use crate::intercept;

#[tokio::test(start_paused = true)]
async fn the_words_of_a_platform_that_refuses_its_namespace_are_told() {
    for (why, is_authorization) in [
        (
            "User \"system:serviceaccount:app:default\" cannot get resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"kube-system\": GKEAutopilot authz: the namespace \"kube-system\" is managed and the request's verb \"get\" is denied",
            true,
        ),
        (
            "admission webhook \"warden-validating.common-webhooks.networking.gke.io\" denied the request: managed-namespaces-limitation",
            false,
        ),
    ] {
        let client =
            intercept::client(&LeaseServer::new().connect(), move |_| Some(intercept::forbidden(why)));
        let lock = LeaseLock::builder(client, NAME).namespace("kube-system").build().unwrap();
        let error = lock.acquire().await.unwrap_err();
        let kind = matches!(error, AcquireError::Forbidden(_));
        assert_eq!(kind, is_authorization, "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
}
