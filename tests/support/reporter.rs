//! The connection of a contender to the [register](super::register).

use std::fmt::Display;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub(crate) struct Reporter(BufReader<TcpStream>);

impl Reporter {
    pub(crate) async fn connect(register: SocketAddr) -> Self {
        let stream = TcpStream::connect(register).await.expect("a connection to the register");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self(BufReader::new(stream))
    }

    /// Reports a hold. `at` is [`now`](super::register::now), read before the contender asked whether it holds the
    /// lock.
    pub(crate) async fn held(&mut self, hold: &str, fencing: impl Display, at: u64) {
        self.send(format!("held {hold} {fencing} {at}\n")).await;
    }

    /// Reports the end of a hold.
    pub(crate) async fn ended(&mut self, hold: &str, at: u64) {
        self.send(format!("left {hold} {at}\n")).await;
    }

    /// Sends a guarded write. Returns whether the register accepted it.
    pub(crate) async fn write(&mut self, hold: &str, fencing: impl Display, value: u64) -> bool {
        self.send(format!("write {hold} {fencing} {value}\n")).await;
        let mut reply = String::new();
        self.0.read_line(&mut reply).await.expect("the answer of the register");
        match reply.trim_end() {
            "ok" => true,
            "stale" => false,
            other => panic!("the register answered {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, line: String) {
        self.0.get_mut().write_all(line.as_bytes()).await.expect("a register that listens");
    }
}
