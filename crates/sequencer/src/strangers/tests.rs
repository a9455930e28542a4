use std::time::Duration;

use mandate_audit::{Outcome, Record, RecordKind, Sum};
use mandate_core::{RecordId, RequestSource, SystemEntropy, Timestamp};
use proptest::prelude::*;

use super::{
    ALL_BYTES, MAX_BYTES_A_DAY, MAX_SOURCES, MAX_STRANGER_LEAF, MAX_SUM_LEAF, MAX_SUMS, OVERHEAD,
    SOURCE_BYTES, SUM_INTERVAL, Strangers,
};

const DAY: Duration = Duration::from_hours(24);

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs)
}

fn host(n: u32) -> RequestSource {
    RequestSource::of(std::net::Ipv4Addr::from(n).into())
}

/// How many bytes of a flood from `source` are recorded at `now`.
fn flood(strangers: &Strangers, source: RequestSource, leaf: usize, now: Timestamp) -> u64 {
    let mut bytes = 0;
    while strangers.admit(source, leaf, now) {
        bytes += leaf as u64 + OVERHEAD;
    }
    bytes
}

#[test]
fn a_source_has_its_quota_again_after_an_hour_and_half_of_it_after_half_an_hour() {
    let strangers = Strangers::default();
    let first = flood(&strangers, host(1), 500, at(0));
    assert!(first <= SOURCE_BYTES && first > SOURCE_BYTES - 1000, "{first}");
    assert_eq!(flood(&strangers, host(1), 500, at(0)), 0);
    let half = flood(&strangers, host(1), 500, at(1800));
    assert!(half <= SOURCE_BYTES / 2 + 628 && half > SOURCE_BYTES / 2 - 1000, "{half}");
    assert!(
        flood(&strangers, host(1), 500, at(1800 + 7200)) <= SOURCE_BYTES,
        "a quiet time saves up no more than one quota"
    );
}

#[test]
fn one_source_leaves_room_for_others_and_all_together_have_a_bound() {
    let strangers = Strangers::default();
    flood(&strangers, host(0), 500, at(0));
    assert!(flood(&strangers, host(1), 500, at(0)) > SOURCE_BYTES - 1000);
    let rest: u64 = (2..1000).map(|n| flood(&strangers, host(n), 500, at(0))).sum();
    assert!(rest + 2 * SOURCE_BYTES <= ALL_BYTES + 2 * 1000, "{rest}");
}

#[test]
fn a_clock_that_goes_back_gives_nothing() {
    let strangers = Strangers::default();
    flood(&strangers, host(1), 500, at(10_000));
    assert_eq!(flood(&strangers, host(1), 500, at(0)), 0);
    assert!(flood(&strangers, host(1), 500, at(10_001)) < 1000);
}

#[test]
fn a_source_that_has_used_its_quota_up_is_not_forgotten_for_made_up_ones() {
    let strangers = Strangers::default();
    let many = u32::try_from(MAX_SOURCES).unwrap();
    flood(&strangers, host(0), 500, at(0));
    for n in 1..many {
        // As short as can be: the quota of all must have room for as many sources as are distinguished.
        assert!(strangers.admit(host(n), 0, at(0)), "{n}");
    }
    assert!(flood(&strangers, host(many), 500, at(0)) > SOURCE_BYTES - 1000);
    assert_eq!(flood(&strangers, host(many + 1), 500, at(0)), 0, "all further sources share one quota");
    assert!(strangers.admit(host(1), 500, at(0)), "there is room in the quota of all");
    assert_eq!(strangers.lock().sources.len(), MAX_SOURCES);
    assert_eq!(flood(&strangers, host(0), 500, at(0)), 0, "its quota is used up still");

    // Ten minutes later, the made-up ones have all of their quota again, and are forgotten for a new one.
    assert!(strangers.admit(host(2 * many), 500, at(600)));
    assert_eq!(strangers.lock().sources.len(), 2, "the new one, and the one that has used its quota up");
    let again = flood(&strangers, host(0), 500, at(600));
    assert!(again > 0 && again < SOURCE_BYTES / 5, "a sixth of its quota, and no more: {again}");
}

#[test]
fn what_is_too_long_is_summed() {
    assert!(!Strangers::default().admit(host(1), MAX_STRANGER_LEAF + 1, at(0)));
}

#[test]
fn refusals_beyond_the_quota_are_counted_by_source_kind_and_reason_from_when_to_when() {
    let strangers = Strangers::default();
    for (n, secs) in [(1, 10), (1, 5), (1, 30), (2, 20)] {
        strangers.count(host(n), RecordKind::Exchange, "client_authentication_failed", at(secs));
    }
    strangers.count(host(1), RecordKind::Admin, "no_credentials", at(1));
    let sums = strangers.take();
    assert_eq!(sums.len(), 3);
    assert_eq!(
        (sums[0].source, sums[0].kind, sums[0].reason.as_str()),
        (host(1), RecordKind::Exchange, "client_authentication_failed")
    );
    assert_eq!(sums[0].sum, Sum { count: 3, first: at(5), last: at(30) });
    assert_eq!(strangers.summed(), 5);
    assert!(strangers.take().is_empty());
}

#[test]
fn the_largest_counts_come_first_and_none_is_lost() {
    let strangers = Strangers::default();
    let many = u32::try_from(MAX_SUMS).unwrap() * 20;
    for n in 0..many {
        for _ in 0..=(n % 7) {
            strangers.count(host(n), RecordKind::Token, "parameter_missing", at(n.into()));
        }
    }
    let expected: u64 = (0..many).map(|n| u64::from(n % 7) + 1).sum();
    let (mut total, mut rounds) = (0, 0);
    loop {
        let sums = strangers.take();
        if sums.is_empty() {
            break;
        }
        assert!(sums.len() <= MAX_SUMS);
        assert!(sums.is_sorted_by(|a, b| a.sum.count >= b.sum.count));
        total += sums.iter().map(|refusals| refusals.sum.count).sum::<u64>();
        rounds += 1;
    }
    assert_eq!(total, expected);
    assert!(rounds <= 10, "made-up sources are counted together");
}

#[test]
fn what_could_not_be_recorded_goes_on_being_counted() {
    let strangers = Strangers::default();
    strangers.count(host(1), RecordKind::Node, "join_token_refused", at(5));
    let taken = strangers.take().pop().unwrap();
    strangers.count(host(1), RecordKind::Node, "join_token_refused", at(9));
    strangers.put_back(taken);
    assert_eq!(strangers.take()[0].sum, Sum { count: 2, first: at(5), last: at(9) });
}

#[test]
fn the_longest_sum_is_as_long_as_the_bound_of_a_day_takes_it_to_be() {
    let mut record = Record::new(
        RecordId::generate(at(0), &SystemEntropy),
        at(0),
        RecordKind::Authorize,
        Outcome::Refused,
        "x".repeat(64),
    );
    record.source = Some(RequestSource::of("2001:db8:ffff:ffff::1".parse().unwrap()).to_string());
    record.sum = Some(Sum { count: u64::MAX, first: at(0), last: at(1) });
    assert!(record.to_leaf().unwrap().len() as u64 <= MAX_SUM_LEAF);
}

/// The worst flood: the quota of all is used up at each look, by sources that are new, and each look records
/// the most sums.
#[test]
fn the_worst_flood_comes_to_the_bound_of_a_day_and_not_beyond_it() {
    let strangers = Strangers::default();
    let most = u32::try_from(MAX_SUMS).unwrap();
    let (mut written, mut next) = (0, 0);
    for look in 0..=DAY.as_secs() / SUM_INTERVAL.as_secs() {
        let now = at(look * SUM_INTERVAL.as_secs());
        for n in next..next + most {
            written += flood(&strangers, host(n), 500, now);
            strangers.count(host(n), RecordKind::Token, "parameter_missing", now);
        }
        next += most;
        written += strangers.take().len() as u64 * (MAX_SUM_LEAF + OVERHEAD);
    }
    assert!(written <= MAX_BYTES_A_DAY, "{written}");
    assert!(written > MAX_BYTES_A_DAY - 1000, "the bound says no more than what can be: {written}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However strangers spread their requests over sources, sizes and a day, the number of written bytes is
    /// bounded.
    #[test]
    fn no_flood_writes_more_than_the_bound_of_a_day(
        bursts in proptest::collection::vec((0u64..86_400, 0u32..5000, 200usize..MAX_STRANGER_LEAF, 1u32..40), 1..400),
    ) {
        let strangers = Strangers::default();
        let mut bursts = bursts;
        bursts.sort_unstable();
        let mut written = 0;
        for (secs, first, leaf, sources) in bursts {
            for n in first..first + sources {
                written += flood(&strangers, host(n), leaf, at(secs));
                strangers.count(host(n), RecordKind::Token, "parameter_missing", at(secs));
            }
        }
        prop_assert!(written <= 25 * ALL_BYTES, "{written}");
        let looks = DAY.as_secs() / SUM_INTERVAL.as_secs() + 1;
        for _ in 0..looks {
            written += strangers.take().len() as u64 * (MAX_SUM_LEAF + OVERHEAD);
        }
        prop_assert!(written <= MAX_BYTES_A_DAY, "{written}");
    }
}
