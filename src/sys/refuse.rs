//! For tests: a thread that may not make certain system calls, as under an old kernel.

use std::io;
use std::thread;

use super::cvt;

/// Runs `work` on a thread of its own, for which each of `calls` (numbers such as
/// `libc::SYS_sendmmsg`) fails with `errno`; the other threads are not touched. By seccomp(2),
/// which needs no privilege here.
///
/// # Errors
/// That of prctl(2), from a kernel without seccomp. A panic of `work` goes on here.
pub(crate) fn refusing<T: Send>(
    calls: &[libc::c_long],
    errno: i32,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            install(calls, errno)?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Puts the filter on the calling thread, for good.
fn install(calls: &[libc::c_long], errno: i32) -> io::Result<()> {
    let step = |code: u32, k: u32, jt: u8| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    // Load the number of the call, the first field of seccomp_data.
    let mut filter = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (i, &call) in calls.iter().enumerate() {
        // If it is this one, over the rest and over "allow".
        let over = (calls.len() - i) as u8;
        filter.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, over));
    }
    filter.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    filter.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    const NIL: libc::c_ulong = 0;
    // SAFETY: prctl takes integers here, each as wide as a long.
    cvt(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as libc::c_ulong, NIL, NIL, NIL) })?;
    let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
    // SAFETY: program and the filter it points to live through the call, which copies them.
    cvt(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) })?;
    Ok(())
}
