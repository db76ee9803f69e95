//! Fencing in SQL: a row that refuses the late write of an earlier holder.
//!
//! ```text
//! cargo run --example fenced_sqlite
//! ```
//!
//! The lock alone cannot do that: it cannot stop a statement that was sent before the lock was lost. The row stores the
//! highest fencing token that it has seen, and refuses lower ones.

use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Link};
use kube_lease_lock::{BuildError, FencingToken, LeaseLock};
use rusqlite::{Connection, OptionalExtension};

const ACCOUNT: i64 = 1;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> Result<()> {
    let server = LeaseServer::new();
    let (slow_link, quick_link) = (server.connect(), server.connect());
    let slow = account_lock(&slow_link, "slow")?;
    let quick = account_lock(&quick_link, "quick")?;
    let db = Connection::open_in_memory()?;
    db.execute_batch(
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, fence INTEGER NOT NULL);
         INSERT INTO accounts VALUES (1, 100, 0);",
    )?;

    // Slow reads the account, and is about to pay 50 into it.
    let slow_guard = slow.acquire().await?;
    let slow_token = slow_guard.fencing_token();
    let slow_read = read(&db, ACCOUNT, slow_token)?;
    println!("slow reads  {slow_read}  with token {slow_token}");

    // Then its network fails, and it loses the lock.
    slow_link.cut();
    println!("slow loses the lock: {}", slow_guard.lost().await);

    // Quick takes over, and withdraws 30.
    let quick_guard = quick.acquire().await?;
    let quick_token = quick_guard.fencing_token();
    let quick_read = read(&db, ACCOUNT, quick_token)?;
    println!("quick reads {quick_read}  with token {quick_token}");

    // Now the write arrives that slow sent before.
    match write(&db, ACCOUNT, slow_read + 50, slow_token) {
        Err(refused) => println!("slow writes {}: {refused}", slow_read + 50),
        Ok(()) => return Err("the stale write was accepted".into()),
    }

    write(&db, ACCOUNT, quick_read - 30, quick_token)?;
    println!("quick writes {}", quick_read - 30);
    quick_guard.release().await?;

    let sql = "SELECT balance FROM accounts WHERE id = ?1";
    let balance: i64 = db.query_row(sql, [ACCOUNT], |row| row.get(0))?;
    if balance != 70 {
        return Err(format!("the balance is {balance}, but should be 70").into());
    }
    println!("the balance is {balance}, as it should be");
    Ok(())
}

fn account_lock(link: &Link, identity: &str) -> Result<LeaseLock, BuildError> {
    LeaseLock::builder(link.client(), "account-1")
        .identity(identity)
        .lease_duration(Duration::from_secs(3))
        .build()
}

/// Reads before a write. The read raises the fence too. Otherwise a stale write could arrive between this read and its
/// write.
fn read(db: &Connection, id: i64, token: FencingToken) -> Result<i64> {
    let sql = "UPDATE accounts SET fence = ?1 WHERE id = ?2 AND fence <= ?1 RETURNING balance";
    db.query_row(sql, (fence(token)?, id), |row| row.get(0)).optional()?.ok_or_else(|| refused(token))
}

fn write(db: &Connection, id: i64, balance: i64, token: FencingToken) -> Result<()> {
    let sql = "UPDATE accounts SET balance = ?1, fence = ?2 WHERE id = ?3 AND fence <= ?2";
    match db.execute(sql, (balance, fence(token)?, id))? {
        0 => Err(refused(token)),
        _ => Ok(()),
    }
}

/// SQL has no unsigned numbers. A `resourceVersion` never exceeds `i64::MAX`, because etcd counts with an `int64`.
fn fence(token: FencingToken) -> Result<i64> {
    Ok(i64::try_from(u64::from(token))?)
}

fn refused(token: FencingToken) -> Box<dyn std::error::Error> {
    format!("refused, the account has seen a higher token than {token}").into()
}
