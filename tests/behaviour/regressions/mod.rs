//! Defects that were found in the lock and repaired: each test fails if its defect comes back.

mod broken_check;
mod broken_hedging;
mod claims;
mod endings;
mod idle_runtimes;
mod panics;
mod request_rate;
mod watches;
