//! Whether something keeps the system's clock right: adjtimex(2).

use std::io;

use super::cvt;

/// Whether a time service says that it keeps the system's clock right.
///
/// # Errors
/// Those of adjtimex(2).
pub fn clock_is_kept() -> io::Result<bool> {
    // SAFETY: a timex is plain data, for which zeros are valid; without modes, nothing is changed.
    let mut about: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills in a timex, which lives through it.
    cvt(unsafe { libc::adjtimex(&raw mut about) })?;
    Ok(about.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_tells_and_the_clock_is_left_alone() {
        assert!(super::clock_is_kept().is_ok());
    }
}
