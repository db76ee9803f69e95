//! The nemesis of the control plane, of permissions, and of the Lease itself: one thing at a time, for each needs a
//! control plane that works.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::administrator::role;
use crate::storm::{CONTENDERS, Storm};
use crate::world::{LEASE, World};

pub(crate) async fn break_down(storm: &Storm, mut rng: fastrand::Rng, world: &World<'_>) {
    let plane = world.plane;
    while storm.rages() {
        storm.wait(&mut rng, 1_000..=10_000).await;
        match rng.u8(..6) {
            0 => {
                storm.strikes("control plane killed", "");
                plane.kill().await;
                storm.wait(&mut rng, 0..=3_000).await;
                plane.restart().await;
            }
            1 => {
                storm.strikes("control plane paused for a moment", "");
                let _paused = plane.pause();
                storm.wait(&mut rng, 100..=1_500).await;
            }
            2 => {
                storm.strikes("control plane paused for long", "");
                let _paused = plane.pause();
                storm.wait(&mut rng, 5_000..=8_000).await;
            }
            3 => {
                storm.strikes("etcd paused", "");
                let _paused = plane.pause_etcd();
                storm.wait(&mut rng, 500..=8_000).await;
            }
            4 => {
                let user = format!("contender-{}", rng.usize(..CONTENDERS));
                storm.strikes("permission withdrawn", &user);
                plane.revoke(&world.namespace, &user).await;
                storm.wait(&mut rng, 500..=8_000).await;
                plane.grant(&world.namespace, &user, &role(&user)).await;
            }
            _ => {
                storm.strikes("labels edited", LEASE);
                let label = json!({ "metadata": { "labels": { "edit": rng.u32(..).to_string() } } });
                let edit = Patch::Merge(label);
                world.leases().await.patch(LEASE, &PatchParams::default(), &edit).await.unwrap();
            }
        }
        until_it_writes(world).await;
    }
}

/// An API server that reads may not write yet: requests that hung in it time out one by one.
async fn until_it_writes(world: &World<'_>) {
    world.plane.ready().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let probe = Patch::Apply(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "spec": { "holderIdentity": "nobody" },
    }));
    while let Err(error) =
        world.leases().await.patch("probe", &PatchParams::apply("probe").force(), &probe).await
    {
        assert!(Instant::now() < deadline, "the API server does not write again: {error}");
        sleep(Duration::from_millis(100)).await;
    }
}
