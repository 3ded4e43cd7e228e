//! shoal: the command line.

fn main() {}
