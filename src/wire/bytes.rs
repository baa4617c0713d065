//! Reading and writing the fields of a payload.

use super::Error;

/// Reads fields from the front of a slice.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The bytes that have not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A varint.
    ///
    /// # Errors
    /// [`Error::Truncated`]; [`Error::TooLarge`] over 64 bits.
    pub fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Error::TooLarge);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::TooLarge)
    }

    /// A varint of 32 bits at most.
    ///
    /// # Errors
    /// As [`Reader::varint`]; [`Error::TooLarge`] over 32 bits.
    pub fn varint32(&mut self) -> Result<u32, Error> {
        u32::try_from(self.varint()?).map_err(|_| Error::TooLarge)
    }

    /// A varint that counts bytes, `most` at most, and those bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over `most`, or [`Error::Truncated`].
    pub fn counted(&mut self, most: usize) -> Result<&'a [u8], Error> {
        let len = usize::try_from(self.varint()?).map_err(|_| Error::TooLarge)?;
        if len > most {
            return Err(Error::TooLarge);
        }
        self.take(len)
    }

    /// Checks that everything has been read.
    ///
    /// # Errors
    /// [`Error::Trailing`].
    pub fn end(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Trailing) }
    }
}

/// Writes fields at the end of a vector.
pub trait Put {
    /// Two bytes.
    fn put_u16(&mut self, value: u16);
    /// Four bytes.
    fn put_u32(&mut self, value: u32);
    /// Eight bytes.
    fn put_u64(&mut self, value: u64);
    /// A varint.
    fn put_varint(&mut self, value: u64);
    /// A varint that counts bytes, and those bytes.
    fn put_counted(&mut self, bytes: &[u8]);
}

impl Put for Vec<u8> {
    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn put_counted(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

/// How many bytes `value` takes as a varint.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_every_length() {
        for bits in 0..=64u32 {
            for value in [
                1u64.checked_shl(bits).unwrap_or(0),
                (1u64.checked_shl(bits).unwrap_or(0)).wrapping_sub(1),
            ] {
                let mut bytes = Vec::new();
                bytes.put_varint(value);
                assert_eq!(bytes.len(), varint_len(value), "{value}");
                let mut reader = Reader::new(&bytes);
                assert_eq!(reader.varint(), Ok(value));
                assert_eq!(reader.end(), Ok(()));
                for short in 0..bytes.len() {
                    assert_eq!(Reader::new(&bytes[..short]).varint(), Err(Error::Truncated));
                }
            }
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert_eq!(Reader::new(&[0x80; 11]).varint(), Err(Error::TooLarge));
        let mut over = [0xff; 10];
        over[9] = 2;
        assert_eq!(Reader::new(&over).varint(), Err(Error::TooLarge));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x10]).varint32(), Err(Error::TooLarge));
    }

    #[test]
    fn counted_bytes_are_bounded_before_they_are_taken() {
        let mut bytes = Vec::new();
        bytes.put_counted(b"abc");
        assert_eq!(Reader::new(&bytes).counted(3), Ok(&b"abc"[..]));
        assert_eq!(Reader::new(&bytes).counted(2), Err(Error::TooLarge));
        assert_eq!(Reader::new(&bytes[..2]).counted(3), Err(Error::Truncated));
    }
}
