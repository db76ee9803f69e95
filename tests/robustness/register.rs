//! The register finds what it is there to find.

use std::time::Duration;

use crate::support::{Register, Reporter, Verdict};

#[tokio::test]
async fn two_holds_at_one_time_are_an_overlap() {
    let verdict = judge("held a 1 10;held a 1 20|held b 2 20;held b 2 30").await;
    let (earlier, later) = &verdict.overlaps[0];
    assert_eq!((&*earlier.name, earlier.first, earlier.last), ("a", 10, 20));
    assert_eq!((&*later.name, later.first, later.last), ("b", 20, 30));
    assert!(!verdict.is_clean() && verdict.to_string().contains("held from 20 to 30 ns"), "{verdict}");
}

#[tokio::test]
async fn a_hold_within_a_long_one_is_an_overlap_also_after_others() {
    let verdict = judge("held long 1 10;held long 1 90|held b 2 20;held c 3 40").await;
    assert_eq!(verdict.overlaps.len(), 2, "{verdict}");
}

#[tokio::test]
async fn one_hold_after_the_other_is_clean_and_counted() {
    let verdict = judge("held a 1 10;held a 1 20;left a 21|held b 2 25;held b 2 30;held b2 - 40").await;
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!((verdict.holds.len(), verdict.handoffs), (3, 1));
    assert_eq!(verdict.longest_gap, Duration::from_nanos(10));
}

#[tokio::test]
async fn tokens_have_to_rise() {
    let verdict = judge("held a 7 10|held b - 20;held c 7 30").await;
    assert_eq!(verdict.unfenced.len(), 1, "{verdict}");
    assert!(!verdict.is_clean());
}

#[tokio::test]
async fn what_cannot_be_is_told() {
    for wrong in
        ["held a 1 10;left a 20;held a 1 30|", "held a 1 10|held a 1 20", "held a 1 soon|", "nonsense|"]
    {
        let verdict = judge(wrong).await;
        assert_eq!(verdict.wrong.len(), 1, "{wrong}: {verdict}");
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
    assert!(!one.write("a", 9, 2).await, "9 is below 10 as a number");
    assert!(other.write("b", 10, 2).await);
    assert!(one.write("c", "-", 3).await, "without a token there is nothing to refuse by");
    let verdict = register.verdict();
    assert_eq!((verdict.writes, verdict.stale), (4, 1));
}

/// The verdict on what two contenders said, one after the other.
async fn judge(said: &str) -> Verdict {
    let register = Register::start().await;
    let (one, other) = said.split_once('|').unwrap();
    for lines in [one, other] {
        let mut reporter = Reporter::connect(register.address()).await;
        for line in lines.split(';').filter(|line| !line.is_empty()) {
            reporter.say(format!("{line}\n")).await;
        }
        // Its answer shows that all before it was read.
        reporter.write("x", "-", 0).await;
    }
    register.verdict()
}
