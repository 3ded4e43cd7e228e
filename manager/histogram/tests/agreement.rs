//! Percentiles are those of the published crate, of which `published.txt` was made: release 0.2.3, the same values.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write as _;

use base2histogram::Histogram;

/// Numbers that look random and are the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A way to make values.
type Shape = fn(&mut Numbers) -> u64;

const SHAPES: &[(&str, Shape)] = &[
    ("below 8", |numbers| numbers.next() % 8),
    ("below 1000", |numbers| numbers.next() % 1_000),
    ("all powers", |numbers| numbers.next() >> (numbers.next() % 64)),
    ("few large", |numbers| match numbers.next() % 100 {
        0 => u64::MAX - numbers.next() % 3,
        1..10 => 50_000 + numbers.next() % 10_000,
        _ => 300 + numbers.next() % 40,
    }),
    ("falling", |numbers| {
        let number = numbers.next();
        (number % 5_000) * (number / 7 % 5_000) / 5_000
    }),
    ("one value", |_| 777),
];

fn table() -> String {
    let mut table = String::new();
    for (name, shape) in SHAPES {
        for (seed, count) in [(1, 1), (2, 2), (3, 10), (4, 300), (5, 20_000)] {
            let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ seed);
            let mut histogram = Histogram::<()>::new();
            for round in 0..count {
                histogram.record_n(shape(&mut numbers), 1 + round % 3);
            }
            let stats = histogram.percentile_stats();
            let (first, last) = (histogram.percentile(0.0), histogram.percentile(1.0));
            writeln!(table, "{name}, {count}: {stats} {first} {last}").unwrap();
        }
    }
    table
}

#[test]
fn percentiles_are_those_of_the_published_crate() {
    expect_test::expect_file!["published.txt"].assert_eq(&table());
}
