//! demo, test, lab, bench, tidy.

fn main() {}
