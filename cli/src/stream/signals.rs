//! Signals that go to the container instead of us, and changes of the window's size.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that are passed on, with their names.
const PASSED: [(i32, &str); 6] =
    [(1, "HUP"), (2, "INT"), (3, "QUIT"), (10, "USR1"), (12, "USR2"), (15, "TERM")];

/// Listens to signals.
pub(crate) struct Signals {
    passed: Vec<(Signal, &'static str)>,
}

impl Signals {
    /// From now on these signals do not end this program.
    pub(crate) fn catch() -> std::io::Result<Self> {
        let listen = |(number, name)| Ok((signal(SignalKind::from_raw(number))?, name));
        Ok(Self { passed: PASSED.into_iter().map(listen).collect::<std::io::Result<_>>()? })
    }

    /// The name of the next signal. Cancel safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|cx| {
            for (signal, name) in &mut self.passed {
                if signal.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Listens to changes of the window's size.
pub(crate) fn window() -> std::io::Result<Signal> {
    signal(SignalKind::window_change())
}
