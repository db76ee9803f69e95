//! How the lock is shared between processes at any distance from the server, and how many requests that costs. Each test
//! prints a table with `--nocapture`.

mod bounds;
mod contest;
mod mixed;
mod shares;
mod stalls;
