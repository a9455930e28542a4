//! All figures of a run, as a table for people and one JSON object for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::load::{CONNECTIONS, Latency};
use crate::profile::Shares;
use crate::scale::Size;
use crate::store::StoreKind;
use crate::svid::SvidTimes;
use crate::verification::Verification;

/// The server at full load.
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    /// CPU time of the server for each exchange.
    pub(crate) cpu_us: f64,
    /// The part of it that was in the kernel.
    pub(crate) system_us: f64,
    /// CPU time / that of the cryptography alone, measured right before and after it.
    pub(crate) ratio: f64,
    /// CPU time of the PostgreSQL server for each exchange; none with SQLite.
    pub(crate) database_us: Option<f64>,
    pub(crate) latency: Latency,
}

/// All figures of a run. "New": no token was ever seen before. "Reused": an agent shows its SVID and a
/// person's token again.
pub(crate) struct Figures {
    pub(crate) store: StoreKind,
    /// Transactions of PostgreSQL for each exchange, new and reused together; none with SQLite.
    pub(crate) commits: Option<f64>,
    pub(crate) raw_verify_us: f64,
    pub(crate) raw_sign_us: f64,
    pub(crate) raw_crypto_us: f64,
    pub(crate) raw_verify_us_idle: f64,
    pub(crate) new: Rate,
    pub(crate) reused: Rate,
    pub(crate) half: Latency,
    pub(crate) most: Latency,
    pub(crate) reused_half: Latency,
    pub(crate) reused_most: Latency,
    pub(crate) verification: Verification,
    pub(crate) first_start_ms: f64,
    pub(crate) restart_ms: f64,
    pub(crate) serve_rss_mib: f64,
    pub(crate) exchanges: usize,
    pub(crate) node_rss_mib: f64,
    pub(crate) svid: SvidTimes,
    pub(crate) agents: Vec<Size>,
    pub(crate) new_shares: Option<Shares>,
    pub(crate) reused_shares: Option<Shares>,
}

/// Rounded, because a benchmark is not more exact than three significant digits.
fn rounded(value: f64) -> Value {
    let scale = if value.abs() < 10.0 { 1000.0 } else { 10.0 };
    json!((value * scale).round() / scale)
}

fn rounded_shares(shares: Option<&Shares>, whole_us: f64) -> Value {
    shares.map_or(Value::Null, |shares| {
        shares.iter().map(|(part, share)| ((*part).to_owned(), rounded(share * whole_us))).collect()
    })
}

impl Figures {
    /// All figures as one line of JSON.
    pub(crate) fn json(&self) -> String {
        let agents: Vec<Value> = self
            .agents
            .iter()
            .map(|size| {
                json!({
                    "agents": size.agents,
                    "exchange_cpu_us": rounded(size.cpu_us),
                    "exchanges_per_s": rounded(size.per_second),
                    "p50_us": rounded(size.alone.p50_us),
                    "p99_us": rounded(size.alone.p99_us),
                    "p50_us_half": rounded(size.half.p50_us),
                    "p99_us_half": rounded(size.half.p99_us),
                    "p50_us_90": rounded(size.most.p50_us),
                    "p99_us_90": rounded(size.most.p99_us),
                })
            })
            .collect();
        json!({
            "store": self.store.name(),
            "exchange_cpu_ratio": rounded(self.new.ratio),
            "exchange_cpu_ratio_warm": rounded(self.reused.ratio),
            "raw_crypto_us": rounded(self.raw_crypto_us),
            "raw_verify_us": rounded(self.raw_verify_us),
            "raw_sign_us": rounded(self.raw_sign_us),
            "raw_verify_us_idle": rounded(self.raw_verify_us_idle),
            "exchange_cpu_us": rounded(self.new.cpu_us),
            "exchange_cpu_us_warm": rounded(self.reused.cpu_us),
            "database_cpu_us": self.new.database_us.map(rounded),
            "database_cpu_us_warm": self.reused.database_us.map(rounded),
            "database_commits": self.commits.map(rounded),
            "exchanges_per_s": rounded(self.new.per_second),
            "exchanges_per_s_warm": rounded(self.reused.per_second),
            "p50_us": rounded(self.half.p50_us),
            "p99_us": rounded(self.half.p99_us),
            "p50_us_90": rounded(self.most.p50_us),
            "p99_us_90": rounded(self.most.p99_us),
            "p50_us_warm": rounded(self.reused_half.p50_us),
            "p99_us_warm": rounded(self.reused_half.p99_us),
            "p50_us_90_warm": rounded(self.reused_most.p50_us),
            "p99_us_90_warm": rounded(self.reused_most.p99_us),
            "verify_ratio": rounded(self.verification.ratio),
            "verify_us": rounded(self.verification.full_us),
            "verify_us_remembered": rounded(self.verification.remembered_us),
            "start_ms": rounded(self.first_start_ms),
            "restart_ms": rounded(self.restart_ms),
            "serve_rss_mib": rounded(self.serve_rss_mib),
            "serve_rss_after_exchanges": self.exchanges,
            "node_rss_mib": rounded(self.node_rss_mib),
            "agents": agents,
            "svid_ready_ms": rounded(self.svid.ready),
            "svid_fetch_ms": rounded(self.svid.fresh),
            "svid_fetch_ms_cached": rounded(self.svid.cached),
            "parts_us": rounded_shares(self.new_shares.as_ref(), self.new.cpu_us),
            "parts_us_warm": rounded_shares(self.reused_shares.as_ref(), self.reused.cpu_us),
        })
        .to_string()
    }

    /// The figures as a table for people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<58} {value}");
        };
        row(
            "Raw cryptography of an exchange (verify + verify + sign)",
            format!("{:>9.1} µs", self.raw_crypto_us),
        );
        row(
            "  ES256 verify / sign, on all cores at once",
            format!("{:>9.1} / {:.1} µs", self.raw_verify_us, self.raw_sign_us),
        );
        row("  ES256 verify, while nothing else is done", format!("{:>9.1} µs", self.raw_verify_us_idle));
        for (name, rate) in [("every token new", &self.new), ("SVID and person's token reused", &self.reused)]
        {
            row(
                &format!("Server CPU per exchange, {name}"),
                format!("{:>9.1} µs = {:.2} x raw", rate.cpu_us, rate.ratio),
            );
            row("  of it in the kernel", format!("{:>9.1} µs", rate.system_us));
            if let Some(database_us) = rate.database_us {
                row("  CPU of PostgreSQL besides", format!("{database_us:>9.1} µs"));
            }
            row(
                &format!("  exchanges per second, {CONNECTIONS} connections"),
                format!("{:>9.0}", rate.per_second),
            );
            row(
                "  p50 / p99 at full load",
                format!("{:>9.0} / {:.0} µs", rate.latency.p50_us, rate.latency.p99_us),
            );
        }
        if let Some(commits) = self.commits {
            row("Commits of PostgreSQL per exchange", format!("{commits:>9.3}"));
        }
        for (name, latency) in [
            ("50 % load, every token new", &self.half),
            ("90 % load, every token new", &self.most),
            ("50 % load, reused", &self.reused_half),
            ("90 % load, reused", &self.reused_most),
        ] {
            row(
                &format!("p50 / p99 at {name}"),
                format!("{:>9.0} / {:.0} µs", latency.p50_us, latency.p99_us),
            );
        }
        for size in &self.agents {
            row(
                &format!("With {} agents and grants, reused", size.agents),
                format!("{:>9.1} µs of CPU", size.cpu_us),
            );
            row("  exchanges per second", format!("{:>9.0}", size.per_second));
            for (name, latency) in
                [("2 connections", &size.alone), ("50 % load", &size.half), ("90 % load", &size.most)]
            {
                row(
                    &format!("  p50 / p99 at {name}"),
                    format!("{:>9.0} / {:.0} µs", latency.p50_us, latency.p99_us),
                );
            }
        }
        row(
            "Verifier, signature checked every time",
            format!("{:>9.1} µs = {:.2} x raw", self.verification.full_us, self.verification.ratio),
        );
        row("  signature remembered", format!("{:>9.1} µs", self.verification.remembered_us));
        row(
            "First start to ready / later starts",
            format!("{:>9.1} / {:.1} ms", self.first_start_ms, self.restart_ms),
        );
        row(
            &format!("Resident memory of serve after {} exchanges", self.exchanges),
            format!("{:>9.1} MiB", self.serve_rss_mib),
        );
        row("Resident memory of node", format!("{:>9.1} MiB", self.node_rss_mib));
        row("apply of a new agent to its JWT-SVID in hand", format!("{:>9.1} ms", self.svid.ready));
        row(
            "JWT-SVID fetch, fresh / cached",
            format!("{:>9.2} / {:.2} ms", self.svid.fresh, self.svid.cached),
        );
        self.parts(&mut row);
        out.push_str("The load generator runs on the same cores as the server; throughput is what is left to the server.\n");
        out
    }

    fn parts(&self, row: &mut impl FnMut(&str, String)) {
        for (name, shares, rate) in
            [("every token new", &self.new_shares, &self.new), ("reused", &self.reused_shares, &self.reused)]
        {
            let Some(shares) = shares else {
                row(&format!("Where the server's CPU time goes, {name}"), "perf is not available".to_owned());
                continue;
            };
            row(&format!("Where the server's CPU time goes, {name}"), String::new());
            let mut sorted: Vec<_> = shares.iter().collect();
            sorted.sort_by(|a, b| b.1.total_cmp(a.1));
            for (part, share) in sorted {
                row(
                    &format!("  {part}"),
                    format!("{:>9.1} µs  {:>4.0} %", share * rate.cpu_us, share * 100.0),
                );
            }
        }
    }
}
