//! shoald: composition root.

fn main() {}
