//! Faults of the control plane, of permissions and of the Lease itself. One at a time, because each needs a control
//! plane that works.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Nemesis;
use crate::administrator::role;
use crate::fixture::{Fixture, LEASE};

const WRITABLE_TIMEOUT: Duration = Duration::from_secs(60);

/// `users` are the names of the contenders, each of which is also the name of its user and of its role.
pub(crate) async fn inject(
    nemesis: &Nemesis,
    mut rng: fastrand::Rng,
    fixture: &Fixture<'_>,
    users: &[String],
) {
    let plane = fixture.plane;
    while nemesis.is_active() {
        nemesis.wait(&mut rng, 1_000..=10_000).await;
        match rng.u8(..6) {
            0 => {
                nemesis.record("control plane killed", "");
                plane.kill().await;
                nemesis.wait(&mut rng, 0..=3_000).await;
                plane.restart().await;
            }
            1 => {
                nemesis.record("control plane paused for a moment", "");
                let _paused = plane.pause();
                nemesis.wait(&mut rng, 100..=1_500).await;
            }
            2 => {
                nemesis.record("control plane paused for long", "");
                let _paused = plane.pause();
                nemesis.wait(&mut rng, 5_000..=8_000).await;
            }
            3 => {
                nemesis.record("etcd paused", "");
                let _paused = plane.pause_etcd();
                nemesis.wait(&mut rng, 500..=8_000).await;
            }
            4 => {
                let user = &users[rng.usize(..users.len())];
                nemesis.record("permission revoked", user);
                plane.revoke(&fixture.namespace, user).await;
                nemesis.wait(&mut rng, 500..=8_000).await;
                plane.grant(&fixture.namespace, user, &role(user)).await;
            }
            _ => {
                nemesis.record("labels edited", LEASE);
                let label = json!({ "metadata": { "labels": { "edit": rng.u32(..).to_string() } } });
                let edit = Patch::Merge(label);
                fixture.leases().await.patch(LEASE, &PatchParams::default(), &edit).await.unwrap();
            }
        }
        wait_until_writable(fixture).await;
    }
}

/// An API server that answers reads may not answer writes yet: the requests that hung in it time out one after the
/// other.
async fn wait_until_writable(fixture: &Fixture<'_>) {
    fixture.plane.ready().await;
    let deadline = Instant::now() + WRITABLE_TIMEOUT;
    let probe = Patch::Apply(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": "probe" },
        "spec": { "holderIdentity": "nobody" },
    }));
    while let Err(error) =
        fixture.leases().await.patch("probe", &PatchParams::apply("probe").force(), &probe).await
    {
        assert!(Instant::now() < deadline, "the API server does not accept writes again: {error}");
        sleep(Duration::from_millis(100)).await;
    }
}
