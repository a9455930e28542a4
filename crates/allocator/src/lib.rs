//! The allocator of the program: it wipes memory that is given back, and returns it to the system soon.

use std::ffi::c_long;

use libmimalloc_sys::mi_option_t;
use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// Memory is wiped when it is given back: passwords, secrets and tokens pass through buffers of many
/// libraries (HTTP, TLS, JSON), and none of them should keep a copy. Below it is mimalloc: an exchange makes
/// and drops some hundred small values on several threads, and glibc's allocator needs a tenth of the
/// exchange's time.
pub type WipingAllocator = ZeroAlloc<MiMalloc>;

/// The allocator, for `#[global_allocator]`.
pub const WIPING: WipingAllocator = ZeroAlloc(MiMalloc);

/// `mi_option_purge_delay` of `mimalloc.h`: how many milliseconds free memory is kept before it is returned
/// to the system. The bindings have no name for it.
const PURGE_DELAY: mi_option_t = 15;

/// By default it is a second, and only a thread that allocates looks whether it is over: what a thread had
/// before it became idle stays with the process, about 1 MiB for each thread of a server.
const SOON: c_long = 10;

/// From now on, free memory is returned to the system after 10 ms. To be called before the program starts
/// threads.
#[expect(unsafe_code, reason = "the option has no safe binding; the proof is at the call")]
pub fn return_memory_soon() {
    // SAFETY: `mi_option_set(mi_option_t, long)` takes two integers and keeps no pointer. It writes to the
    // element of a static array of options, after comparing the number with the length. It does so without a
    // lock: another thread that allocates at that moment reads the old or the new delay, both of which are
    // valid, and the documentation of this function asks for a call before there are threads.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, SOON) };
}

#[cfg(test)]
mod tests {
    use super::{PURGE_DELAY, SOON, WIPING, WipingAllocator, return_memory_soon};

    #[global_allocator]
    static ALLOCATOR: WipingAllocator = WIPING;

    #[expect(unsafe_code, reason = "as in the function that is tested")]
    fn delay() -> std::ffi::c_long {
        // SAFETY: `mi_option_get(mi_option_t)` takes an integer, and reads one.
        unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }
    }

    /// If a new version of mimalloc numbers its options differently, another option has another default.
    #[test]
    fn the_number_is_that_of_the_delay() {
        assert_eq!(delay(), 1_000, "the default of `mi_option_purge_delay`");
        return_memory_soon();
        assert_eq!(delay(), SOON);
    }
}
