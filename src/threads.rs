//! What a thread may take of the processor.

/// By how much the threads of background work are nicer than those that answer (`nice(2)`): where both want a core,
/// about a quarter of it is theirs.
#[cfg(target_os = "linux")]
const NICER: i32 = 5;

/// Lets the calling thread, for as long as it lives, run behind the threads that answer requests. Only Linux has a
/// priority for each thread; elsewhere nothing changes.
pub fn run_behind_requests() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!(%error, "a background thread keeps its priority");
    }
}
