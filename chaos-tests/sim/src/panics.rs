//! Panics of anything that runs on this thread. Tasks swallow them; a run must not.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Begins to watch this thread.
pub(crate) fn watch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            FIRST.with_borrow_mut(|first| {
                first.get_or_insert_with(|| panic.to_string());
            });
            usual(panic);
        }));
    });
    FIRST.take();
}

/// The first panic since.
pub(crate) fn first() -> Option<String> {
    FIRST.take()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_that_is_swallowed_is_known() {
        super::watch();
        let swallowed = std::panic::catch_unwind(|| panic!("told"));
        assert!(swallowed.is_err());
        assert!(super::first().is_some_and(|first| first.contains("told")));
        assert_eq!(super::first(), None);
    }
}
