//! Each process gets a fair share of the turns, however far it is from the server.

use std::time::Duration;

use super::contest::{Contender, Limits, Outcome, contest, print};

/// Two minutes. A contest with many turns is decided earlier.
const LIMITS: Limits =
    Limits { span: Duration::from_secs(120), turns: 300, min_span: Duration::from_secs(8) };
/// A process alone does the same again and again.
const SOLO_LIMITS: Limits =
    Limits { span: Duration::from_secs(60), turns: 30, min_span: Duration::from_secs(1) };
/// How much of its fair share a process has to get.
const MIN_SHARE: f64 = 0.6;
/// If the fair share is less than this, chance decides.
const MIN_TURNS: f64 = 3.0;

const RESTS: [u64; 3] = [0, 200, 1_000];

/// One contest for each rest, with one process at each of these distances, all in milliseconds.
async fn contests(distances: &[u64], hold: u64) {
    let mut unfair = Vec::new();
    for rest in RESTS {
        unfair.extend(unfair_shares(distances, hold, rest, LIMITS).await);
    }
    assert!(unfair.is_empty(), "{} unfair shares:\n{}", unfair.len(), unfair.join("\n"));
}

/// As many processes, at these distances in turn.
async fn crowd(count: usize, hold: u64) {
    let distances: Vec<_> = [1, 5, 20, 2, 40].into_iter().cycle().take(count).collect();
    // A few more than the least that a fair share needs.
    let limits = Limits { turns: (count * 5).max(150), ..LIMITS };
    let unfair = unfair_shares(&distances, hold, 0, limits).await;
    assert!(unfair.is_empty(), "{} unfair shares:\n{}", unfair.len(), unfair.join("\n"));
}

/// The fair share of a process is its part of all turns, or what it would get alone if that is less.
async fn unfair_shares(distances: &[u64], hold: u64, rest: u64, limits: Limits) -> Vec<String> {
    let contender = |distance: &u64| {
        let [distance, hold, rest] = [*distance, hold, rest].map(Duration::from_millis);
        Contender { distance, hold, rest, tasks: 1 }
    };
    let contenders: Vec<_> = distances.iter().map(contender).collect();
    let Outcome { span, shares } = {
        let outcome = contest(&contenders, limits).await;
        print(&format!("{} processes, hold {hold} ms, rest {rest} ms", distances.len()), &outcome);
        outcome
    };
    let all: usize = shares.iter().map(|share| share.turns.len()).sum();
    let mut known: Vec<(Contender, f64)> = Vec::new();
    let mut unfair = Vec::new();
    for share in &shares {
        let contender = share.contender;
        let rate = if let Some((_, rate)) = known.iter().find(|(other, _)| *other == contender) {
            *rate
        } else {
            let solo = contest(&[contender], SOLO_LIMITS).await;
            let rate = number(solo.shares[0].turns.len()) / solo.span.as_secs_f64();
            known.push((contender, rate));
            rate
        };
        let alone = rate * span.as_secs_f64();
        let fair = alone.min(number(all) / number(shares.len()));
        let turns = share.turns.len();
        if share.unconfirmed_releases > 0 {
            unfair.push(format!("{} releases without an answer: {contender:?}", share.unconfirmed_releases));
        }
        if fair >= MIN_TURNS && number(turns) < MIN_SHARE * fair {
            unfair.push(format!(
                "{turns} turns of {all}, fair are {fair:.1} (alone {alone:.0}): {contender:?}"
            ));
        }
    }
    unfair
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

macro_rules! tests {
    ($contest:ident: $($name:ident($of:expr, $hold:expr);)+) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                $contest($of, $hold).await;
            }
        )+
    };
}

tests! { contests:
    one_of_four_is_25_ms_away_and_holds_last_0_ms(&[25, 2, 2, 2], 0);
    one_of_four_is_25_ms_away_and_holds_last_5_ms(&[25, 2, 2, 2], 5);
    one_of_four_is_25_ms_away_and_holds_last_500_ms(&[25, 2, 2, 2], 500);
    one_of_four_is_25_ms_away_and_holds_last_2_s(&[25, 2, 2, 2], 2_000);
    one_of_four_is_40_ms_away_and_holds_last_0_ms(&[40, 2, 2, 2], 0);
    one_of_four_is_40_ms_away_and_holds_last_5_ms(&[40, 2, 2, 2], 5);
    one_of_four_is_40_ms_away_and_holds_last_500_ms(&[40, 2, 2, 2], 500);
    one_of_four_is_40_ms_away_and_holds_last_2_s(&[40, 2, 2, 2], 2_000);
    one_of_four_is_100_ms_away_and_holds_last_0_ms(&[100, 2, 2, 2], 0);
    one_of_four_is_100_ms_away_and_holds_last_5_ms(&[100, 2, 2, 2], 5);
    one_of_four_is_100_ms_away_and_holds_last_500_ms(&[100, 2, 2, 2], 500);
    one_of_four_is_100_ms_away_and_holds_last_2_s(&[100, 2, 2, 2], 2_000);
    one_of_four_is_250_ms_away_and_holds_last_0_ms(&[250, 2, 2, 2], 0);
    one_of_four_is_250_ms_away_and_holds_last_5_ms(&[250, 2, 2, 2], 5);
    one_of_four_is_250_ms_away_and_holds_last_500_ms(&[250, 2, 2, 2], 500);
    one_of_four_is_250_ms_away_and_holds_last_2_s(&[250, 2, 2, 2], 2_000);
    one_of_two_is_40_ms_away_and_holds_last_0_ms(&[40, 2], 0);
    one_of_two_is_40_ms_away_and_holds_last_5_ms(&[40, 2], 5);
    one_of_two_is_40_ms_away_and_holds_last_500_ms(&[40, 2], 500);
    one_of_two_is_40_ms_away_and_holds_last_2_s(&[40, 2], 2_000);
    one_of_two_is_200_ms_away_and_holds_last_0_ms(&[200, 2], 0);
    one_of_two_is_200_ms_away_and_holds_last_5_ms(&[200, 2], 5);
    one_of_two_is_200_ms_away_and_holds_last_500_ms(&[200, 2], 500);
    one_of_two_is_200_ms_away_and_holds_last_2_s(&[200, 2], 2_000);
}

tests! { crowd:
    each_of_17_processes_gets_its_share(17, 100);
    each_of_25_processes_gets_its_share(25, 100);
    each_of_60_processes_gets_its_share(60, 200);
    each_of_100_processes_gets_its_share(100, 200);
}
