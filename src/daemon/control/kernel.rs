//! Files of the kernel that tell of this host, opened while they are still in reach.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Files of the kernel that are read again and again. None: there is no such file.
#[derive(Debug)]
pub(crate) struct Kernel {
    snmp: Option<File>,
    most_watches: Option<File>,
}

impl Kernel {
    /// Opens them.
    pub(crate) fn open() -> Self {
        Kernel {
            snmp: File::open("/proc/self/net/snmp").ok(),
            most_watches: File::open("/proc/sys/fs/inotify/max_user_watches").ok(),
        }
    }

    /// How many packets UDP has dropped because a receive buffer was full, of all programs of this host.
    pub(super) fn udp_full(&self) -> Option<u64> {
        buffer_errors(&text(self.snmp.as_ref()?)?)
    }

    /// How many directories the programs of one user may watch.
    pub(super) fn most_watches(&self) -> Option<u64> {
        text(self.most_watches.as_ref()?)?.trim().parse().ok()
    }
}

fn text(file: &File) -> Option<String> {
    let mut bytes = [0; 16_384];
    let mut length = 0;
    loop {
        match file.read_at(&mut bytes[length..], length as u64).ok()? {
            0 => return String::from_utf8(bytes[..length].to_vec()).ok(),
            more => length += more,
        }
    }
}

/// `RcvbufErrors` of UDP, in a table with a line of names before each line of numbers.
fn buffer_errors(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|name| name == "RcvbufErrors")?;
    numbers.split(' ').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_again_and_again() {
        let kernel = Kernel::open();
        for _ in 0..2 {
            assert!(kernel.udp_full().is_some() && kernel.most_watches() > Some(0));
        }
    }

    #[test]
    fn a_number_stands_below_its_name() {
        let table = "Tcp: RcvbufErrors\nTcp: 5\nUdp: InDatagrams RcvbufErrors X\nUdp: 1 7 9\n";
        assert_eq!(buffer_errors(table), Some(7));
        for table in
            ["", "Udp: RcvbufErrors\n", "Udp: X\nUdp: 1\n", "Udp: X RcvbufErrors\nUdp: 1\n"]
        {
            assert_eq!(buffer_errors(table), None, "{table}");
        }
    }
}
