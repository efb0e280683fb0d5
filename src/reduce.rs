//! The only module that names rayon: tasks in any order, their results merged in one order.
//!
//! What a task is depends on the problem's shape and never on the number of threads, and neighbours are merged
//! pairwise by index, so 1 thread and 16 give the same bytes.

use crate::error::Error;
use crate::fault::caught;
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How often the calling thread asks whether to stop.
const POLL: Duration = Duration::from_millis(50);
/// Short pieces of work between two looks at the clock.
const SHORT_CALLS: u32 = 8;
/// Orders of matrices from which on a factorisation takes longer than `POLL`.
const LONG_ORDER: usize = 256;
/// More threads than tasks would only wait.
const MOST_THREADS: usize = 128;
/// Enough for the block kernels, which hold nothing large on the stack.
const STACK_BYTES: usize = 4 << 20;

/// The threads of one call, and the question that its calling thread asks while they work.
pub struct Team<'a> {
    n_threads: usize,
    interrupted: &'a dyn Fn() -> bool,
    /// The pool, once it has been asked for: no other call can take it away.
    pool: RefCell<Option<Kept>>,
    asked: Cell<Instant>,
    stopped: Cell<bool>,
    n_short: Cell<u32>,
}

impl<'a> Team<'a> {
    pub fn new(n_threads: usize, interrupted: &'a dyn Fn() -> bool) -> Self {
        Self {
            n_threads: n_threads.clamp(1, MOST_THREADS),
            interrupted,
            pool: RefCell::new(None),
            asked: Cell::new(Instant::now()),
            stopped: Cell::new(false),
            n_short: Cell::new(0),
        }
    }

    pub fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// Runs `task(i, &mut results[i], stop)` for every i, then merges all results into the first, which is returned. A
    /// long task asks `stop()` now and then and returns early if it is true.
    ///
    /// With `in_parallel` false, or one thread, everything runs on the calling thread.
    pub fn ordered_reduce<'p, P: Send>(
        &self,
        in_parallel: bool,
        results: &'p mut [P],
        task: impl Fn(usize, &mut P, &dyn Fn() -> bool) + Sync,
        merge: impl Fn(&mut P, &P),
    ) -> Result<&'p mut P, Error> {
        let pool = if in_parallel && self.n_threads > 1 && results.len() > 1 { self.pool() } else { None };
        match pool {
            Some(pool) => self.on_pool(&pool, results, task)?,
            None => self.on_this_thread(results, task)?,
        }
        merge_pairwise(results, merge, || self.check())?;
        results.first_mut().ok_or_else(|| Error::Internal { report: "no tasks to reduce".to_owned() })
    }

    /// None where threads cannot be started: the caller then does the work itself.
    fn pool(&self) -> Option<Arc<ThreadPool>> {
        let mut own = self.pool.borrow_mut();
        // What runs between two passes may have forked.
        if own.as_ref().is_none_or(|own| own.process != std::process::id()) {
            std::mem::forget(own.replace(kept(self.n_threads)));
        }
        own.as_ref().and_then(|own| own.pool.clone())
    }

    fn on_this_thread<P>(
        &self,
        results: &mut [P],
        task: impl Fn(usize, &mut P, &dyn Fn() -> bool),
    ) -> Result<(), Error> {
        if let [alone] = results {
            task(0, alone, &|| self.wants_to_stop());
            return self.check_often(0);
        }
        for (i, result) in results.iter_mut().enumerate() {
            task(i, result, &|| self.wants_to_stop());
            self.check()?;
        }
        Ok(())
    }

    /// The tasks run on the pool; the calling thread waits, and asks every `POLL` whether to stop.
    fn on_pool<P: Send>(
        &self,
        pool: &ThreadPool,
        results: &mut [P],
        task: impl Fn(usize, &mut P, &dyn Fn() -> bool) + Sync,
    ) -> Result<(), Error> {
        let (cancelled, panicked) = (AtomicBool::new(false), OnceLock::new());
        let (cancelled, panic, task) = (&cancelled, &panicked, &task);
        let (done, waiting) = mpsc::channel::<()>();
        pool.in_place_scope(|scope| {
            scope.spawn(move |_| {
                results.par_iter_mut().enumerate().with_max_len(1).for_each(|(i, result)| {
                    let stop = || cancelled.load(Ordering::Relaxed);
                    if !stop()
                        && let Err(error) = caught(|| task(i, result, &stop))
                    {
                        cancelled.store(true, Ordering::Relaxed);
                        let _ = panic.set(error);
                    }
                });
                drop(done);
            });
            while waiting.recv_timeout(POLL) == Err(mpsc::RecvTimeoutError::Timeout) {
                if (self.interrupted)() {
                    cancelled.store(true, Ordering::Relaxed);
                }
            }
        });
        match panicked.into_inner() {
            Some(error) => Err(error),
            None if cancelled.load(Ordering::Relaxed) => Err(Error::Interrupted),
            None => self.check(),
        }
    }

    /// `apart`, until the caller wants to stop.
    pub fn apart<R: Send + 'static>(
        &self,
        order: usize,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        apart(order, work, &|| self.wants_to_stop())
    }

    /// For work on a matrix of this `order`: only every few times where it is so short that looking at the clock would
    /// be felt, unless it has been asked to stop.
    pub fn check_often(&self, order: usize) -> Result<(), Error> {
        self.n_short.set((self.n_short.get() + 1) % SHORT_CALLS);
        let is_due = self.stopped.get() || order >= LONG_ORDER || self.n_short.get() == 0;
        if is_due { self.check() } else { Ok(()) }
    }

    /// An error if the caller wants to stop.
    fn check(&self) -> Result<(), Error> {
        if self.wants_to_stop() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Whether the caller wants to stop; it is asked no more often than every `POLL`, over all passes together.
    fn wants_to_stop(&self) -> bool {
        if !self.stopped.get() && self.asked.get().elapsed() >= POLL {
            self.asked.set(Instant::now());
            self.stopped.set((self.interrupted)());
        }
        self.stopped.get()
    }
}

/// Runs work that nobody can ask to stop, on a thread of its own, which is left alone once `stop()` is true.
/// `order` of the matrix that the work is on: with a small one, it is done before it would matter.
pub fn apart<R: Send + 'static>(
    order: usize,
    work: impl FnOnce() -> R + Send + 'static,
    stop: &dyn Fn() -> bool,
) -> Result<R, Error> {
    if order < LONG_ORDER {
        return Ok(work());
    }
    let work = Arc::new(Mutex::new(Some(work)));
    let (taken, (done, waiting)) = (Arc::clone(&work), mpsc::channel());
    let take = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let apart = move || take(&taken).map(|work| done.send(caught(work)));
    if std::thread::Builder::new().stack_size(STACK_BYTES).spawn(apart).is_err()
        && let Some(work) = take(&work)
    {
        // There are no more threads to be had.
        return Ok(work());
    }
    loop {
        match waiting.recv_timeout(POLL) {
            Ok(result) => return result,
            Err(mpsc::RecvTimeoutError::Timeout) if !stop() => {}
            Err(_) => return Err(Error::Interrupted),
        }
    }
}

fn merge_pairwise<P>(
    results: &mut [P],
    merge: impl Fn(&mut P, &P),
    check: impl Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    let mut stride = 1;
    while stride < results.len() {
        for pair in results.chunks_mut(2 * stride) {
            if let Some(([left, ..], [right, ..])) = pair.split_at_mut_checked(stride) {
                merge(left, right);
                check()?;
            }
        }
        stride *= 2;
    }
    Ok(())
}

/// A pool of our own, of a process and a number of threads; none where they could not be started.
#[derive(Clone)]
struct Kept {
    process: u32,
    n_threads: usize,
    pool: Option<Arc<ThreadPool>>,
}

/// The pool of the last call.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pool of the last call if it is of this process and size, else a new one. A forked child inherits the handle but
/// not the threads: it builds its own.
fn kept(n_threads: usize) -> Kept {
    let process = std::process::id();
    let mut last = lock();
    if let Some(last) = last.as_ref()
        && (last.process, last.n_threads, last.pool.is_some()) == (process, n_threads, true)
    {
        return last.clone();
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(n_threads)
        .stack_size(STACK_BYTES)
        .thread_name(|i| format!("steepest-{i}"))
        .build();
    let new = Kept { process, n_threads, pool: pool.ok().map(Arc::new) };
    if let Some(old) = last.replace(new.clone())
        && old.process != process
    {
        // Dropping it would wake threads that do not exist in this process.
        std::mem::forget(old);
    }
    new
}

thread_local! {
    /// What `before_fork` holds until `after_fork`.
    static HELD: RefCell<Option<MutexGuard<'static, Option<Kept>>>> = const { RefCell::new(None) };
}

/// To be called before this thread forks, so that no other one is about to change the pool: the child would inherit a
/// lock that nobody opens.
pub fn before_fork() {
    HELD.set(Some(lock()));
}

/// To be called after it, by the parent and by the child.
pub fn after_fork() {
    HELD.set(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums whose bits depend on the order of additions.
    fn total(n_threads: usize, in_parallel: bool) -> f64 {
        let mut results = vec![0.0; 37];
        Team::new(n_threads, &|| false)
            .ordered_reduce(in_parallel, &mut results, |i, result, _| *result = 1.0 / (1.0 + i as f64), |a, b| *a += b)
            .unwrap();
        results[0]
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let alone = total(1, false);
        assert!((alone - (1..=37).map(|i| 1.0 / i as f64).sum::<f64>()).abs() < 1e-14);
        for n_threads in [1, 2, 3, 8] {
            assert_eq!(total(n_threads, true).to_bits(), alone.to_bits());
        }
    }

    /// Neither tasks nor merges are nested, however many there are: a small stack is enough.
    #[test]
    fn a_million_tasks() {
        let work = || {
            let mut results = vec![0u64; 1_000_000];
            let team = Team::new(2, &|| false);
            team.ordered_reduce(true, &mut results, |i, result, _| *result = i as u64, |a, b| *a += b).unwrap();
            results[0]
        };
        let total = std::thread::Builder::new().stack_size(64 << 10).spawn(work).unwrap().join().unwrap();
        assert_eq!(total, 999_999 * 500_000);
    }

    #[test]
    fn a_panic_in_a_task_is_an_error_and_the_pool_goes_on() {
        let team = Team::new(2, &|| false);
        let task = |i: usize, _: &mut u8, _: &dyn Fn() -> bool| assert!(i != 7, "in a task");
        let outcome = team.ordered_reduce(true, &mut [0u8; 100], task, |_, _| {}).copied();
        assert!(matches!(outcome, Err(Error::Internal { .. })));
        assert_eq!(total(2, true).to_bits(), total(1, false).to_bits());
    }

    #[test]
    fn an_interrupt_ends_the_work() {
        for n_threads in [1, 2] {
            let started = Instant::now();
            let task = |_: usize, _: &mut u8, _: &dyn Fn() -> bool| std::thread::sleep(Duration::from_millis(20));
            let outcome =
                Team::new(n_threads, &|| true).ordered_reduce(true, &mut [0u8; 100], task, |_, _| {}).copied();
            assert_eq!(outcome, Err(Error::Interrupted));
            assert!(started.elapsed() < Duration::from_secs(1));
        }
    }

    /// What it left is no result.
    #[test]
    fn a_task_that_was_asked_to_stop_is_an_error_at_once() {
        let team = Team::new(1, &|| true);
        std::thread::sleep(POLL);
        let task = |_: usize, done: &mut bool, stop: &dyn Fn() -> bool| *done = !stop();
        assert_eq!(team.ordered_reduce(false, &mut [true], task, |_, _| {}), Err(Error::Interrupted));
    }

    #[test]
    fn an_interrupt_ends_a_series_of_short_passes() {
        for n_threads in [1, 2] {
            let team = Team::new(n_threads, &|| true);
            let pass = || {
                let task = |_: usize, _: &mut u8, _: &dyn Fn() -> bool| std::thread::sleep(Duration::from_millis(1));
                team.ordered_reduce(true, &mut [0u8; 4], task, |_, _| {}).copied()
            };
            let started = Instant::now();
            while pass().is_ok() {
                assert!(started.elapsed() < Duration::from_secs(1));
            }
        }
    }
}
