//! Tests of the register: it finds every violation.

use std::time::Duration;

use crate::support::{Register, Reporter, Verdict};

#[tokio::test]
async fn two_holds_at_the_same_time_are_an_overlap() {
    let verdict = judge("held a 1 10;held a 1 20|held b 2 20;held b 2 30").await;
    let (earlier, later) = &verdict.overlaps[0];
    assert_eq!((&*earlier.name, earlier.first, earlier.last), ("a", 10, 20));
    assert_eq!((&*later.name, later.first, later.last), ("b", 20, 30));
    assert!(!verdict.is_clean() && verdict.to_string().contains("held from 20 to 30 ns"), "{verdict}");
}

#[tokio::test]
async fn every_hold_within_a_long_one_is_an_overlap() {
    let verdict = judge("held long 1 10;held long 1 90|held b 2 20;held c 3 40").await;
    assert_eq!(verdict.overlaps.len(), 2, "{verdict}");
}

#[tokio::test]
async fn holds_one_after_the_other_are_clean() {
    let verdict = judge("held a 1 10;held a 1 20;left a 21|held b 2 25;held b 2 30;held b2 - 40").await;
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!((verdict.holds.len(), verdict.handoffs), (3, 1));
    assert_eq!(verdict.longest_gap, Duration::from_nanos(10));
}

#[tokio::test]
async fn a_fencing_token_that_does_not_rise_is_found() {
    let verdict = judge("held a 7 10|held b - 20;held c 7 30").await;
    assert_eq!(verdict.unfenced.len(), 1, "{verdict}");
    assert!(!verdict.is_clean());
}

#[tokio::test]
async fn impossible_messages_are_violations() {
    for messages in
        ["held a 1 10;left a 20;held a 1 30|", "held a 1 10|held a 1 20", "held a 1 soon|", "nonsense|"]
    {
        let verdict = judge(messages).await;
        assert_eq!(verdict.violations.len(), 1, "{messages}: {verdict}");
        assert!(!verdict.is_clean());
    }
}

#[tokio::test]
async fn a_stale_write_is_refused() {
    let register = Register::start().await;
    let mut one = Reporter::connect(register.address()).await;
    let mut other = Reporter::connect(register.address()).await;
    assert!(one.write("a", 9, 1).await);
    assert!(other.write("b", 10, 1).await);
    assert!(!one.write("a", 9, 2).await, "9 is less than 10 as a number");
    assert!(other.write("b", 10, 2).await);
    assert!(one.write("c", "-", 3).await, "a write without a token is not refused");
    let verdict = register.verdict();
    assert_eq!((verdict.writes, verdict.stale), (4, 1));
}

/// The verdict on the messages of two contenders, one after the other.
async fn judge(messages: &str) -> Verdict {
    let register = Register::start().await;
    let (one, other) = messages.split_once('|').unwrap();
    for lines in [one, other] {
        let mut reporter = Reporter::connect(register.address()).await;
        for line in lines.split(';').filter(|line| !line.is_empty()) {
            reporter.send(format!("{line}\n")).await;
        }
        // The answer to this shows that the register has read all messages before it.
        reporter.write("x", "-", 0).await;
    }
    register.verdict()
}
