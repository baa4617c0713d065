//! Times of files: seconds as zigzag varint, nanoseconds as varint.

use super::Error;
use super::bytes::{Put, Reader};

/// A time as file systems store it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FileTime {
    /// Seconds since 1970, negative before.
    pub secs: i64,
    /// Nanoseconds, under 1,000,000,000.
    pub nanos: u32,
}

impl FileTime {
    /// Reads it.
    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let zigzag = reader.varint()?;
        let secs = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        let nanos = reader.varint32()?;
        if nanos >= 1_000_000_000 { Err(Error::Invalid) } else { Ok(FileTime { secs, nanos }) }
    }

    /// Writes it.
    pub(crate) fn emit(self, out: &mut Vec<u8>) {
        out.put_varint((self.secs << 1 ^ self.secs >> 63) as u64);
        out.put_varint(self.nanos.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_second_of_nanoseconds_is_refused() {
        for (secs, nanos, bytes) in [
            (0, 0, &[0, 0][..]),
            (-1, 1, &[1, 1]),
            (64, 999_999_999, &[128, 1, 255, 147, 235, 220, 3]),
        ] {
            let mut out = Vec::new();
            FileTime { secs, nanos }.emit(&mut out);
            assert_eq!(out, bytes);
            assert_eq!(FileTime::parse(&mut Reader::new(&out)), Ok(FileTime { secs, nanos }));
        }
        for secs in [i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            FileTime { secs, nanos: 0 }.emit(&mut out);
            assert_eq!(FileTime::parse(&mut Reader::new(&out)).map(|time| time.secs), Ok(secs));
        }
        let mut out = vec![0];
        out.put_varint(1_000_000_000);
        assert_eq!(FileTime::parse(&mut Reader::new(&out)), Err(Error::Invalid));
    }
}
