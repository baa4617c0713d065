//! The local time zone, kept across a chroot.

use std::fmt;
use std::mem::MaybeUninit;

unsafe extern "C" {
    // The libc crate has it only for other systems.
    fn tzset();
}

/// A local time, as a log line shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    /// The year, such as 2026.
    pub year: i64,
    /// The month, 1 to 12.
    pub month: u8,
    /// The day of the month, 1 to 31.
    pub day: u8,
    /// The hour, 0 to 23.
    pub hour: u8,
    /// The minute, 0 to 59.
    pub minute: u8,
    /// The second, 0 to 60.
    pub second: u8,
}

impl Local {
    /// The month's English abbreviation, as RFC 3164 (section 4.1.2) wants it.
    pub fn month_name(&self) -> &'static str {
        const NAMES: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        NAMES[usize::from(self.month.clamp(1, 12)) - 1]
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }
}

/// Loads the time zone (from `TZ`, else `/etc/localtime`). To be called once, before a chroot:
/// [`local`] never reads it again (glibc's and musl's localtime_r(3) read only what tzset(3) has not),
/// so the zone stays in force where its file is out of reach.
pub fn load() {
    // SAFETY: no arguments; libc guards its zone by a lock of its own, and only a change of the
    // environment at the same time, which this program never makes, could disturb its getenv.
    unsafe { tzset() }
}

/// The local time, `secs` seconds since 1970-01-01 00:00 UTC. A year beyond C's `int` gives 1970.
pub fn local(secs: i64) -> Local {
    // time_t has 32 bits on some machines.
    #[allow(clippy::useless_conversion)]
    let secs = libc::time_t::try_from(secs).unwrap_or(0);
    let mut tm = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are good for the call; on NULL (EOVERFLOW) `tm` stays zeroed, which is a
    // valid value for it: integers, and a pointer that is never followed.
    let tm = unsafe {
        if libc::localtime_r(&secs, tm.as_mut_ptr()).is_null() {
            tm = MaybeUninit::zeroed();
            let tm = tm.assume_init_mut();
            tm.tm_year = 70;
            tm.tm_mday = 1;
        }
        tm.assume_init()
    };
    let small = |n: libc::c_int| u8::try_from(n).unwrap_or(0);
    Local {
        year: i64::from(tm.tm_year) + 1_900,
        month: small(tm.tm_mon + 1),
        day: small(tm.tm_mday),
        hour: small(tm.tm_hour),
        minute: small(tm.tm_min),
        second: small(tm.tm_sec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone;

    #[test]
    fn a_zone_outlives_a_chroot() {
        if !alone::is_root() {
            return alone::skipped("needs root");
        }
        if !std::path::Path::new("/usr/share/zoneinfo/Asia/Kolkata").exists() {
            return alone::skipped("needs the zone Asia/Kolkata");
        }
        alone::Alone::new(module_path!(), "a_zone_outlives_a_chroot")
            .env("TZ", ":Asia/Kolkata")
            .run(|empty| {
                load();
                std::os::unix::fs::chroot(empty).unwrap();
                assert!(std::fs::metadata("/usr").is_err());
                // 2001-09-09 01:46:40 UTC; India is five and a half hours ahead.
                assert_eq!(local(1_000_000_000).to_string(), "2001-09-09 07:16:40");
                assert_eq!(local(1_000_000_000).month_name(), "Sep");
            })
            .success();
    }

    #[test]
    fn impossible_times_are_1970() {
        assert_eq!(local(i64::MAX).to_string(), "1970-01-01 00:00:00");
    }
}
