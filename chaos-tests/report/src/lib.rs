//! Figures of benches in one form: what was measured, its budget, Docker's figures, a verdict.
//!
//! A bench adds [`Row`]s to a [`Sheet`], which prints them and appends each to the file that `cargo xtask bench` named.
//! xtask joins them with what is known of the machine ([`Run`]) and draws a plot of each run ([`plot`]).

#![allow(clippy::print_stdout, reason = "reports go to the person who measures")]

pub mod design;
mod machine;
mod number;
pub mod plot;
mod results;
mod row;
mod sheet;
mod table;
mod times;

pub use machine::{Machine, floor};
pub use results::{Results, Run};
pub use row::{Aim, Row, Verdict};
pub use sheet::{ROWS_FILE, Sheet, rows_of};
pub use table::table;
pub use times::{Sorted, millis, milliseconds, seconds};
