//! Scripts of cluster life with the exact log that each command makes: `scripts/*.txt`.
//!
//! A block is commands, `----`, the log of these commands, an empty line. `#` begins prose. `UPDATE_EXPECT=1` writes the
//! logs anew: commit that only when you understand what changed them.

mod interpreter;
mod world;

use std::path::Path;

use interpreter::Interpreter;

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
    let script = std::fs::read_to_string(&path).expect("a script");
    expect_test::expect_file![path].assert_eq(&run(&script));
}

/// The script with the logs as they are.
fn run(script: &str) -> String {
    let mut interpreter = Interpreter::new();
    let mut out = String::new();
    let mut in_log = false;
    for line in script.lines() {
        match line {
            "----" => {
                in_log = true;
                out.push_str("----\n");
                for entry in interpreter.take_log() {
                    out.push_str(&entry);
                    out.push('\n');
                }
            }
            "" => {
                in_log = false;
                out.push('\n');
            }
            _ if in_log => {}
            line => {
                if !line.starts_with('#') {
                    interpreter.run(line);
                }
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

macro_rules! scripts {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            check(concat!(stringify!($name), ".txt"));
        }
    )*};
}

scripts! {
    replicated
    global
    jobs
    restart
    update
    rollback
    drain
    drain_parallelism
    drain_stuck
    reaper
    depends
}
