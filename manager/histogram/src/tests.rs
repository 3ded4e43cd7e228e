//! Buckets, counting, and what is shown.

use expect_test::{Expect, expect};

use super::*;

#[track_caller]
fn check(found: &impl std::fmt::Display, expect: Expect) {
    expect.assert_eq(&found.to_string());
}

fn of(values: &[(u64, u64)]) -> Histogram {
    let mut histogram = Histogram::new();
    values.iter().for_each(|(value, times)| histogram.record_n(*value, *times));
    histogram
}

#[test]
fn buckets_cover_all_numbers_without_a_gap() {
    let mut next = 0;
    for index in 0..=Bucket::LAST.0 {
        let bucket = Bucket(index);
        assert_eq!(bucket.first(), next);
        assert_eq!(Bucket::of(bucket.first()), bucket);
        let last = bucket.first() + (bucket.width() - 1);
        assert_eq!(Bucket::of(last), bucket);
        next = last.wrapping_add(1);
    }
    assert_eq!(next, 0, "the last bucket ends with the largest number");
    assert_eq!(Bucket::LAST, Bucket(251));
}

#[test]
fn small_values_are_exact_and_others_have_four_buckets_a_power() {
    let first = (0..20).map(|index| Bucket(index).first()).collect::<Vec<_>>();
    let expected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56];
    assert_eq!(first, expected);
}

#[test]
fn what_was_counted_is_told() {
    let empty = Histogram::<()>::new();
    assert_eq!((empty.total(), empty.percentile(0.5)), (0, 0));
    check(
        &empty.percentile_stats(),
        expect!["[samples: 0, P0.1: 0, P1: 0, P5: 0, P10: 0, P50: 0, P90: 0, P99: 0, P99.9: 0]"],
    );
    let some = of(&[(5, 1), (8, 1), (13, 1), (21, 3), (99, 0)]);
    assert_eq!((some.total(), some.percentile(0.5), some.percentile(0.99)), (6, 13, 24));
    check(&format!("{some:?}"), expect!["{5: 1, 8: 1, 12: 1, 20: 3}"]);
    assert_eq!(some, some.clone());
    assert_ne!(some, empty);
}

#[test]
fn a_chart_shows_each_bucket_and_the_percentiles_of_each_series() {
    assert_eq!(AsciiChart::<()>::new().add("none", Histogram::new()).to_string(), "");
    let chart = AsciiChart::new().add("a", of(&[(5, 10)])).add("b", of(&[(5, 5), (100, 3)]));
    check(
        &chart.detailed(),
        expect![[r#"
                range | █ a ▒ b
            [ 5,   6) | ███████████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒  10 + 5
            [96, 112) | ▒▒▒▒▒▒▒▒  0 + 3
            █ a  total: 10  P50: 5  P90: 5  P99: 5
            ▒ b  total: 8  P50: 5  P90: 112  P99: 112"#]],
    );
}
