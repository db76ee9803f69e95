//! The results for one system: a row in the table of peers, and a line in the chart.

use crate::stats::{Samples, Short};
use crate::table::Table;

#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Its name and version, such as `kubert 0.25.0`.
    pub(crate) system: String,
    /// Its settings, such as `defaults` or `2 s leases`.
    pub(crate) settings: String,
    /// From the call to the hold, on a free Lease.
    pub(crate) acquire: Option<Samples>,
    /// From just before the release until the next holder knows that it holds.
    pub(crate) handover: Option<Samples>,
    /// From the last renewal of a holder that was killed until the next holder knows that it holds.
    pub(crate) crash: Option<Samples>,
    /// A remark, such as an error.
    pub(crate) remark: String,
}

/// The table of peers.
pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(
        "peers: other lock crates, and other systems",
        [
            "system",
            "settings",
            "acquire p50",
            "acquire p99",
            "handover p50",
            "handover p99",
            "crash p50",
            "crash max",
            "n",
            "remark",
        ],
    );
    for row in rows {
        let of = |samples: &Option<Samples>, figure: fn(&Samples) -> _| {
            samples.as_ref().map_or(String::new(), |samples| Short(figure(samples)).to_string())
        };
        let n = [&row.acquire, &row.handover, &row.crash]
            .map(|samples| samples.as_ref().map_or("-".to_owned(), |samples| samples.len().to_string()));
        table.row([
            &row.system,
            &row.settings,
            &of(&row.acquire, Samples::p50),
            &of(&row.acquire, Samples::p99),
            &of(&row.handover, Samples::p50),
            &of(&row.handover, Samples::p99),
            &of(&row.crash, Samples::p50),
            &of(&row.crash, Samples::max),
            &n.join(" / "),
            &row.remark,
        ]);
    }
    table.remark(
        "Each contender is a process of its own, with the client that its users have. acquire: from the call to the \
         hold, on a free Lease. handover: from just before the release to the next holder. crash: from the last \
         renewal of a holder that is killed to the next holder.",
    );
    table
}
