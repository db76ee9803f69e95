//! Defects that were found in the lock and repaired: each test fails if its defect comes back.

mod claims;
mod endings;
mod idle_runtimes;
mod panics;
mod request_rate;
mod watches;
