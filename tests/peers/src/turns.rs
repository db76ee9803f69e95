//! Acquires and releases the Lease again and again.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::clock::now;
use crate::peer::{Hold, Peer};
use crate::register::Register;

pub struct Turns {
    pub identity: String,
    pub lease: String,
    pub term: Duration,
    pub rest: Duration,
    pub register: Register,
}

impl Turns {
    /// Ends only with the first error.
    pub async fn take(mut self, peer: impl Peer) -> Result<()> {
        for number in 1.. {
            let hold = peer.acquire(&self.lease).await?;
            self.lead(&format!("{}#{number}", self.identity), hold).await?;
            sleep(self.rest).await;
        }
        Ok(())
    }

    /// Reads the clock before it asks whether it holds the Lease, so that the report is true for that time.
    async fn lead(&mut self, name: &str, hold: impl Hold) -> Result<()> {
        println!("leading {name}");
        let end = Instant::now() + self.term;
        while Instant::now() < end {
            let at = now();
            if !hold.is_held() {
                break;
            }
            self.register.send(&format!("held {name} - {at}")).await?;
            sleep(Duration::from_millis(5)).await;
        }
        self.register.send(&format!("left {name} {}", now())).await?;
        println!("left {name}");
        hold.release().await
    }
}
