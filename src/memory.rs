//! Memory that is freed and still counted as the process's.

/// Gives back to the system what the C library keeps of memory that has been freed: ONNX Runtime takes and frees as much
/// again as a model's weights while it opens it. Only glibc keeps so much; elsewhere nothing is done. It takes some
/// milliseconds, so it is for the ends of large pieces of work.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "a call into the C library without arguments that could be wrong")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
