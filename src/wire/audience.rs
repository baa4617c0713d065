//! For whom a transfer is: a varint, how many hosts are named, and for each its name (counted). None are
//! named if it is for all.

use std::sync::Arc;

use super::Error;
use super::bytes::{Put, Reader};
use crate::name::{HostName, MAX_HOST_NAME};

/// The most hosts that are named.
pub const MAX_NAMED: usize = 1_000;

/// For whom a transfer is: never for its own sender.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Audience {
    /// Every host.
    #[default]
    All,
    /// The hosts of these names, ascending.
    Named(Arc<[HostName]>),
}

impl Audience {
    /// These hosts; their order does not matter.
    pub fn named(mut hosts: Vec<HostName>) -> Self {
        hosts.sort();
        hosts.dedup();
        Audience::Named(hosts.into())
    }

    /// Whether it is for this host.
    pub fn includes(&self, host: &HostName) -> bool {
        match self {
            Audience::All => true,
            Audience::Named(hosts) => hosts.binary_search(host).is_ok(),
        }
    }

    /// Whether `other` is for nobody else.
    pub fn includes_all_of(&self, other: &Audience) -> bool {
        match (self, other) {
            (Audience::All, _) => true,
            (Audience::Named(_), Audience::All) => false,
            (Audience::Named(_), Audience::Named(hosts)) => {
                hosts.iter().all(|host| self.includes(host))
            }
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// More than [`MAX_NAMED`], a name that is not one, names that do not ascend.
    pub fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let count = reader.varint()?;
        if count > MAX_NAMED as u64 {
            return Err(Error::TooLarge);
        }
        let mut hosts: Vec<HostName> = Vec::new();
        for _ in 0..count {
            let name = reader.counted(MAX_HOST_NAME)?;
            let name = HostName::parse(name).map_err(|_| Error::Invalid)?;
            if hosts.last().is_some_and(|before| *before >= name) {
                return Err(Error::Invalid);
            }
            hosts.push(name);
        }
        Ok(if hosts.is_empty() { Audience::All } else { Audience::Named(hosts.into()) })
    }

    /// Writes it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let hosts = self.hosts();
        out.put_varint(hosts.len() as u64);
        hosts.iter().for_each(|host| out.put_counted(host.as_str().as_bytes()));
    }

    /// The most bytes that it takes when written.
    pub fn len_bound(&self) -> usize {
        2 + self.hosts().iter().map(|host| 2 + host.as_str().len()).sum::<usize>()
    }

    /// About how many bytes it takes in memory.
    pub fn memory(&self) -> usize {
        size_of_val(self.hosts()) + self.len_bound()
    }

    /// Those that are named.
    pub fn hosts(&self) -> &[HostName] {
        match self {
            Audience::All => &[],
            Audience::Named(hosts) => hosts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    fn parse(bytes: &[u8]) -> Result<Audience, Error> {
        let mut reader = Reader::new(bytes);
        let audience = Audience::parse(&mut reader)?;
        reader.end()?;
        Ok(audience)
    }

    #[test]
    fn those_that_are_named_come_back_in_order() {
        for named in [vec![], vec!["b", "a", "b"], vec!["web-1"]] {
            let audience = match named.is_empty() {
                true => Audience::All,
                false => Audience::named(named.iter().map(|name| host(name)).collect()),
            };
            let mut bytes = Vec::new();
            audience.emit(&mut bytes);
            assert!(bytes.len() <= audience.len_bound());
            assert_eq!(parse(&bytes), Ok(audience));
        }
        assert_eq!(parse(b"\x02\x01a\x01b").map(|audience| audience.hosts().len()), Ok(2));
    }

    #[test]
    fn what_does_not_ascend_or_is_no_name_or_too_much_is_refused() {
        assert_eq!(parse(b"\x02\x01b\x01a"), Err(Error::Invalid));
        assert_eq!(parse(b"\x02\x01a\x01a"), Err(Error::Invalid));
        assert_eq!(parse(b"\x01\x01/"), Err(Error::Invalid));
        assert_eq!(parse(b"\x01\x00"), Err(Error::Invalid));
        assert_eq!(parse(b"\xe9\x07"), Err(Error::TooLarge));
        assert_eq!(parse(b"\x02\x01a"), Err(Error::Truncated));
    }

    #[test]
    fn all_are_more_than_any_that_are_named() {
        let two = Audience::named(vec![host("a"), host("b")]);
        let one = Audience::named(vec![host("b")]);
        assert!(two.includes(&host("b")) && !one.includes(&host("a")));
        assert!(Audience::All.includes_all_of(&two) && !two.includes_all_of(&Audience::All));
        assert!(two.includes_all_of(&one) && !one.includes_all_of(&two));
    }
}
