//! The demo with its data in a PostgreSQL server, set up as an operator sets up theirs.

use std::process::{Command, Stdio};

use mandate_testkit::postgres::Cluster;
use mandate_testkit::skipped;
use serde_json::Value;

#[test]
fn the_demo_keeps_its_promises_with_its_data_in_postgresql() {
    let Some(cluster) = Cluster::start(&["fsync=on"]) else { return skipped("PostgreSQL is not installed") };
    let database = cluster.create_database();
    let output = Command::new(env!("CARGO_BIN_EXE_mandate"))
        .args(["demo", "--check", "--store", &cluster.url(&database)])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{out}{err}");
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(last["audit"]["verified"], true, "{last}");
    assert_eq!(last["after"]["refused_by_mandate"], 24, "{last}");
    let records: u64 = cluster.sql(&database, "SELECT count(*) FROM records").parse().unwrap();
    // A record for each of the refusals, and those of what was permitted.
    assert!(records > 24, "its records are in that database: {records}");
}
