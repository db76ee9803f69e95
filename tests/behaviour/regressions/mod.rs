//! Defects that were found in the lock and repaired: each test fails if its defect comes back.

mod checks;
mod claims;
mod endings;
mod health;
mod idle_runtimes;
mod leading;
mod overlaps;
mod owners;
mod panics;
mod raced_writes;
mod refused_waiters;
mod repeated_requests;
mod request_rate;
mod watches;
