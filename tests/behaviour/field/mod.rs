//! What went wrong with other locks and elections on Kubernetes, as their users report it. One file for each kind.

mod annotations;
mod crowds;
mod partitions;
mod refused_namespaces;
mod retries;
mod shared_clients;
mod tasks;
mod unreadable_times;
mod waiting;
