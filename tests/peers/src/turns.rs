//! Turn after turn as the holder.

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
    /// Ends with the first error only.
    pub async fn take(mut self, peer: impl Peer) -> Result<()> {
        for n in 1.. {
            let hold = peer.acquire(&self.lease).await?;
            self.lead(&format!("{}#{n}", self.identity), hold).await?;
            sleep(self.rest).await;
        }
        Ok(())
    }

    /// Reads the clock before it asks, so that what it says was true at that time.
    async fn lead(&mut self, name: &str, hold: impl Hold) -> Result<()> {
        println!("leading {name}");
        let end = Instant::now() + self.term;
        while Instant::now() < end {
            let at = now();
            if !hold.is_held() {
                break;
            }
            self.register.say(&format!("held {name} - {at}")).await?;
            sleep(Duration::from_millis(5)).await;
        }
        self.register.say(&format!("left {name} {}", now())).await?;
        println!("left {name}");
        hold.release().await
    }
}
