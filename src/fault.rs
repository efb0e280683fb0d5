//! Panics become errors: a bug of ours must not end a program that has run for hours.

use crate::error::Error;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

thread_local! {
    /// Where the last panic of this thread was, and what it said.
    static REPORT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on panics are remembered for `caught`; they are printed only if RUST_BACKTRACE asks for it.
pub fn remember_panics() {
    let print = take_hook();
    set_hook(Box::new(move |panic| {
        // At the end of a thread there may be nobody left to report to.
        let _ = REPORT.try_with(|report| report.replace(panic.to_string()));
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            print(panic);
        }
    }));
}

/// Runs `work`; a panic becomes an error that says where it was. What the work has changed is not to be used then.
pub fn caught<R>(work: impl FnOnce() -> R) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Error::Internal { report: REPORT.take() })
}
