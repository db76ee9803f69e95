//! An in-process Lease API server behind a real `kube::Client`.
