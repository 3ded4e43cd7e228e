//! What the entries are applied to.

use std::io::{self, Read, Write};

use bytes::Bytes;

/// State that is a function of the entries applied to it, in order. The same on every member.
///
/// Calls are made one at a time, from the raft threads: `apply` should take microseconds.
pub trait StateMachine: Send + 'static {
    /// Applies an entry and answers the proposer. Must not fail: what is not possible is an answer.
    fn apply(&mut self, index: u64, entry: &Bytes) -> Bytes;

    /// An entry without content (of consensus itself) was committed at `index`.
    fn skip(&mut self, index: u64) {
        let _ = index;
    }

    /// The state as it is now, cheaply: it is encoded in the background while entries go on.
    fn snapshot(&self) -> Box<dyn SnapshotView>;

    /// Replaces the whole state by what [`SnapshotView::write`] wrote.
    ///
    /// # Errors
    /// When the bytes are not a state of this machine; the state must then be unchanged.
    fn restore(&mut self, reader: &mut dyn Read) -> io::Result<()>;

    /// Index of the last entry in the state; zero: none.
    fn applied(&self) -> u64;
}

/// An immutable state, taken by [`StateMachine::snapshot`].
pub trait SnapshotView: Send + 'static {
    /// Encodes it. Runs where it may block.
    ///
    /// # Errors
    /// Those of `writer`.
    fn write(&self, writer: &mut dyn Write) -> io::Result<()>;
}
