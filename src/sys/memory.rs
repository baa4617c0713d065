//! How the allocator works.

/// Allocations from this size on, in bytes, are mapped, and go back to the system when freed.
const MAPPED: libc::c_int = 1 << 20;
/// The most arenas: more of them hold on to more of what is free.
const ARENAS: libc::c_int = 2;

/// Keeps the process small: bodies and manifests go back to the system, which glibc stops doing
/// after the first one is freed (`mallopt(3)`, `M_MMAP_THRESHOLD`). Other C libraries do as they do.
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets parameters of the allocator; a value it refuses changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}
/// Gives back to the system what was freed and is not used again soon: what it took to read a large file, say. Not
/// all C libraries can do that.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it is given no pointer, and what is in use stays as it is.
    unsafe {
        libc::malloc_trim(0);
    }
}
