//! What the process does to the core, and the core to it: forks, its end, panics, how many threads it may have.

use crate::error::Error;
use crate::fault::{caught, remember_panics};
use crate::lanes::use_instructions;
use crate::reduce::{Team, after_fork, before_fork};
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The interpreter is about to end: a thread that asks for it later would never come back.
static ENDING: AtomicBool = AtomicBool::new(false);
/// Calls that are in the core now.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// How long the end of the process waits for them; each notices within one look at the clock.
const MOST_WAIT: Duration = Duration::from_secs(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

struct Inside;

impl Inside {
    fn new() -> Self {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A forked child has fewer of them than its parent.
        let _ = INSIDE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    }
}

/// Whether the interpreter is about to end.
pub(super) fn is_ending() -> bool {
    ENDING.load(Ordering::Relaxed)
}

/// Runs what a function of this module does: panics become exceptions, and none begins when the interpreter ends.
pub(super) fn guarded<R>(work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    let _inside = Inside::new();
    if is_ending() {
        return Err(PySystemExit::new_err(()));
    }
    caught(work)?
}

/// What must be arranged with the process, once.
pub(super) fn arrange(module: &Bound<'_, PyModule>) -> PyResult<()> {
    remember_panics();
    if let Ok(name) = std::env::var("STEEPEST_ISA")
        && !name.is_empty()
    {
        use_instructions(&name)?;
    }
    let py = module.py();
    py.import("atexit")?.call_method1("register", (module.getattr("_end")?,))?;
    let os = py.import("os")?;
    // Windows has no forks.
    if os.hasattr("register_at_fork")? {
        let hooks = PyDict::new(py);
        for (name, hook) in
            [("before", "_before_fork"), ("after_in_parent", "_after_fork"), ("after_in_child", "_begin_child")]
        {
            hooks.set_item(name, module.getattr(hook)?)?;
        }
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}

#[pyfunction]
pub fn _before_fork() {
    before_fork();
}

#[pyfunction]
pub fn _after_fork() {
    after_fork();
}

/// Of all threads of the parent, the child has this one.
#[pyfunction]
pub fn _begin_child() {
    after_fork();
    INSIDE.store(0, Ordering::SeqCst);
}

/// Has all calls return before the interpreter is gone.
#[pyfunction]
pub fn _end(py: Python<'_>) {
    ENDING.store(true, Ordering::SeqCst);
    py.detach(|| {
        let started = Instant::now();
        while INSIDE.load(Ordering::SeqCst) > 0 && started.elapsed() < MOST_WAIT {
            std::thread::sleep(BETWEEN_LOOKS);
        }
    });
}

/// Threads that this process may use: its affinity and the quota of its control group.
#[pyfunction]
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A panic, for tests: in a task of that many threads.
#[pyfunction]
pub fn _panic(py: Python<'_>, n_threads: usize) -> PyResult<()> {
    #[expect(clippy::panic, reason = "that is what it is for")]
    let task = |i: usize, _: &mut (), _: &dyn Fn() -> bool| {
        if i == 1 {
            panic!("asked for by a test")
        }
    };
    let work = || Team::new(n_threads, &|| false).ordered_reduce(true, &mut [(); 4], task, |(), ()| {}).copied();
    guarded(|| py.detach(work).map_err(Error::into))
}
