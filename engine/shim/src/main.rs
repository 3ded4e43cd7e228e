//! Parent of one container: sets it up, holds its stdio, exit status and execs.

fn main() {}
