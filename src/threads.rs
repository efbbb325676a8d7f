//! What a thread may take of the processor, told to the scheduler. Only Linux knows such settings for each thread;
//! elsewhere nothing changes.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// By how much the threads of background work are nicer than those that answer (`nice(2)`): where both want a core,
/// about a quarter of it is theirs. With a tenth, a graph was hardly ever ready on a machine that had other work.
#[cfg(target_os = "linux")]
const NICER: i32 = 5;

/// The slice of the processor that threads of background priority ask for. A thread that yields loses the rest of its
/// slice, so the slice is as long as such a thread goes on before it yields.
#[cfg(target_os = "linux")]
const BACKGROUND_SLICE_NANOS: u64 = YIELD_EVERY.as_nanos() as u64;

/// The slice of the processor that threads of latency priority ask for. What they do between two waits is mostly
/// shorter, and a thread that asks for a shorter slice than the one that runs is let in at once when it wakes, not when
/// the other has used up its slice of some milliseconds. What a thread gets in all stays the same. Linux before 6.12
/// pays no heed to it.
#[cfg(target_os = "linux")]
const SLICE_NANOS: u64 = 500_000;

/// Gives the calling thread, for as long as it lives, background priority: where it and a thread that answers requests
/// both want a core, the other gets most of it.
pub fn take_background_priority() {
    #[cfg(target_os = "linux")]
    linux::set(|attributes| {
        attributes.sched_nice = (attributes.sched_nice + NICER).min(19);
        // which interrupts nobody when it wakes
        attributes.sched_policy = libc::SCHED_BATCH.cast_unsigned();
        attributes.sched_runtime = BACKGROUND_SLICE_NANOS;
    });
}

/// How long background work keeps the processor before it yields.
const YIELD_EVERY: Duration = Duration::from_micros(200);

/// Yields to a thread that waits for the processor, unless the calling thread has done so within the last 0.2 ms.
/// Background work calls it between its steps: a kernel that looks at its clock 250 times a second would leave a request
/// waiting for up to 4 ms, whatever slices the two have.
pub fn yield_to_others() {
    thread_local! {
        static YIELDED: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    if YIELDED.get().is_none_or(|yielded| now.duration_since(yielded) >= YIELD_EVERY) {
        std::thread::yield_now();
        YIELDED.set(Some(Instant::now()));
    }
}

/// Gives the calling thread, for as long as it lives, latency priority: it gets a core soon after it wakes. It is for
/// threads that answer requests and mostly wait. Threads that it begins, as those of a model that is loaded again, run
/// models and get none of this.
pub fn take_latency_priority() {
    #[cfg(target_os = "linux")]
    linux::set(|attributes| {
        attributes.sched_runtime = SLICE_NANOS;
        attributes.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
    });
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, mem};

    use libc::sched_attr;

    /// Changes the scheduler's settings of the calling thread; where that is forbidden, it keeps those it has.
    pub(super) fn set(change: impl FnOnce(&mut sched_attr)) {
        let done = get().and_then(|mut attributes| {
            change(&mut attributes);
            put(&attributes)
        });
        if let Err(error) = done {
            tracing::debug!(%error, "a thread keeps the scheduler's settings that it has");
        }
    }

    pub(super) fn get() -> io::Result<sched_attr> {
        let size = mem::size_of::<sched_attr>();
        #[expect(unsafe_code, reason = "plain numbers, which the call fills in, and no more of them than it is told")]
        let (done, attributes) = unsafe {
            let mut attributes: sched_attr = mem::zeroed();
            (libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0), attributes)
        };
        if done == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
    }

    fn put(attributes: &sched_attr) -> io::Result<()> {
        #[expect(unsafe_code, reason = "the call reads plain numbers, as many as their first says")]
        let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attributes, 0) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_background_priority_is_nicer_and_interrupts_nobody() {
        let before = linux::get().unwrap();
        take_background_priority();
        let after = linux::get().unwrap();
        assert_eq!(after.sched_nice, (before.sched_nice + NICER).min(19));
        assert_eq!(after.sched_policy, libc::SCHED_BATCH.cast_unsigned());
        // an older kernel leaves it alone
        assert!(
            [BACKGROUND_SLICE_NANOS, before.sched_runtime].contains(&after.sched_runtime),
            "{}",
            after.sched_runtime
        );
    }

    #[test]
    fn a_thread_that_answers_keeps_its_share_and_asks_for_a_short_slice() {
        let before = linux::get().unwrap();
        take_latency_priority();
        let after = linux::get().unwrap();
        assert_eq!((after.sched_nice, after.sched_policy), (before.sched_nice, before.sched_policy));
        // an older kernel leaves it alone
        assert!([SLICE_NANOS, before.sched_runtime].contains(&after.sched_runtime), "{}", after.sched_runtime);
    }

    #[test]
    fn a_thread_begun_by_one_that_answers_has_the_slice_that_any_other_has() {
        let slice = || std::thread::spawn(|| linux::get().unwrap().sched_runtime).join().unwrap();
        let before = slice();
        take_latency_priority();
        assert_eq!(slice(), before);
    }
}
