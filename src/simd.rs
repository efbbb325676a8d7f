//! One loop for several instruction sets, chosen when it runs.

/// Defines functions that do what a plain one does, which is `#[inline(always)]`: on x86-64 its loop is also compiled
/// for AVX2 and for AVX-512 with VNNI, and the widest that the processor has is taken.
macro_rules! compiled_for_each_processor {
    ($($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $plain:path;)*) => {$(
        $(#[$meta])*
        #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls functions compiled for instructions whose presence was just detected"))]
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::is_x86_feature_detected as has;

                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
                fn with_avx512($($argument: $type),*) $(-> $result)? {
                    $plain($($argument),*)
                }
                #[target_feature(enable = "avx2")]
                fn with_avx2($($argument: $type),*) $(-> $result)? {
                    $plain($($argument),*)
                }
                if has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq") && has!("avx512vnni") {
                    // SAFETY: the processor has them.
                    return unsafe { with_avx512($($argument),*) };
                }
                if has!("avx2") {
                    // SAFETY: the processor has AVX2.
                    return unsafe { with_avx2($($argument),*) };
                }
            }
            $plain($($argument),*)
        }
    )*};
}

pub(crate) use compiled_for_each_processor;
