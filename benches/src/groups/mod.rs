//! One file for each group of measurements.

pub(crate) mod acquire;
pub(crate) mod crash;
pub(crate) mod fairness;
pub(crate) mod floor;
pub(crate) mod handover;
pub(crate) mod held;
pub(crate) mod idle;
pub(crate) mod tasks;
pub(crate) mod waiters;
