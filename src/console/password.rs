//! The console's password: comparing it, and delaying answers after wrong ones.
#![forbid(unsafe_code)]

use std::fmt;

use crate::crypto::{HmacKey, equal};
use crate::time::{Span, Time};

/// The prompt for the password, instead of the first prompt.
pub const ASK: &[u8] = b"password: \x1b]E";

/// After this many wrong passwords, answers are delayed.
const FREE: u32 = 3;

/// The time between two answers after too many wrong passwords.
const PAUSE: Span = Span::from_secs(2);

/// Wrong passwords are forgotten after this time without another one.
const FORGET: Span = Span::from_secs(60);

/// The digest of a password, so that the time of a comparison reveals nothing about it.
#[derive(Clone, Copy)]
pub struct Secret([u8; 16]);

impl Secret {
    /// Keeps the digest of `password`.
    pub fn new(password: &[u8]) -> Secret {
        Secret(HmacKey::new(password).mac(&[b"makuosan console"]))
    }

    /// Whether `guess` is the password.
    pub fn is(&self, guess: &[u8]) -> bool {
        equal(&self.0, &Secret::new(guess).0)
    }
}

/// Does not reveal the password.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// When passwords are answered, whether right or wrong: at once, until there were three wrong ones
/// from any clients; then one every two seconds, in the order of arrival, until there was no wrong
/// one for a minute.
#[derive(Clone, Copy, Default, Debug)]
pub struct Gate {
    wrong: u32,
    /// The last wrong one.
    last: Time,
    /// The last answer.
    answered: Time,
}

impl Gate {
    /// A gate without wrong passwords.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// When the next password may be answered; it may be in the past.
    pub fn opens(&self) -> Time {
        if self.wrong < FREE { Time::default() } else { self.answered + PAUSE }
    }

    /// A password was answered.
    pub fn answered(&mut self, now: Time, right: bool) {
        if now >= self.last + FORGET {
            self.wrong = 0;
        }
        if !right {
            self.wrong = self.wrong.saturating_add(1);
            self.last = now;
        }
        self.answered = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_is_the_password() {
        let secret = Secret::new(b"open sesame");
        assert!(secret.is(b"open sesame"));
        for guess in [&b""[..], b"open sesam", b"open sesame ", b"Open sesame", &[0; 100]] {
            assert!(!secret.is(guess));
        }
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn three_wrong_ones_slow_the_next_down() {
        let at = |seconds| Time::default() + Span::from_secs(seconds);
        let mut gate = Gate::new();
        for _ in 0..3 {
            assert!(gate.opens() <= at(100));
            gate.answered(at(100), false);
        }
        assert_eq!(gate.opens(), at(102));
        gate.answered(at(102), false);
        assert_eq!(gate.opens(), at(104));
        // The right one tells nothing about the others.
        gate.answered(at(104), true);
        assert_eq!(gate.opens(), at(106));
        gate.answered(at(161), true);
        assert_eq!(gate.opens(), at(163));
        gate.answered(at(163), true);
        assert!(gate.opens() <= at(163));
        gate.answered(at(163), false);
        gate.answered(at(163), false);
        assert!(gate.opens() <= at(163));
    }
}
