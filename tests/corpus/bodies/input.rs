//! Bytes as a source of decisions.

/// What is left of an input. Past its end everything is 0.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub fn flag(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// A number under `end`, which is 1 to 256.
    pub fn below(&mut self, end: u32) -> u32 {
        u32::from(self.u8()) % end
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    /// A small number, nearly always; else one at the edge of something.
    pub fn number(&mut self) -> u32 {
        match self.u8() {
            small @ 0..=199 => u32::from(small) % 20,
            200..=219 => u32::from(self.u8()),
            220..=229 => self.u16().into(),
            230..=239 => u32::MAX - u32::from(self.u8()),
            240..=247 => 0x7fff_ff00 + u32::from(self.u16()),
            _ => self.u32(),
        }
    }

    /// At most `most` bytes, as many as a byte of the input says.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let len = usize::from(self.u8()).min(most).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    /// Sometimes changes a payload: cuts it, adds to it, or changes a byte.
    pub fn damage(&mut self, payload: &mut Vec<u8>) {
        let how = self.u8();
        let at = usize::from(self.u8());
        match how {
            0..=7 => payload.truncate(payload.len().saturating_sub(1 + at)),
            8..=15 => payload.extend_from_slice(self.bytes(255)),
            16..=39 => {
                let at = at % payload.len().max(1);
                if let Some(byte) = payload.get_mut(at) {
                    *byte = self.u8();
                }
            }
            _ => {}
        }
    }
}
