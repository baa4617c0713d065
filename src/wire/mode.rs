//! What a transfer is to do at its targets.

/// What a transfer is to do at its targets: as a command says it, as the sender and the targets' disks
/// go by it, and as BEGIN carries it ([`super::begin`] knows the bits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Write what is missing there or differs (`send`, `sync`).
    Send {
        /// Then delete what is in a listed directory there and not at the sender.
        delete: bool,
        /// Every regular file needs its data, whatever its size and time.
        ignore_times: bool,
        /// Stop after NEED: nothing is changed.
        dry_run: bool,
    },
    /// Delete the path that the transfer is about: it is gone at the sender (`sync`).
    Remove {
        /// Nothing is changed.
        dry_run: bool,
    },
    /// Only names are sent, and nothing is made, changed or compared: delete what is not among them
    /// (`dsync`).
    DeleteOnly {
        /// The path that the transfer is about is gone at the sender, and is deleted as a whole.
        gone: bool,
        /// Nothing is changed.
        dry_run: bool,
    },
    /// Compare contents by their digests (`check`). Nothing is changed; what only the target has is
    /// spooled to be named.
    Check,
}

impl Mode {
    /// A plain `send`.
    pub const SEND: Mode = Mode::Send { delete: false, ignore_times: false, dry_run: false };

    /// The same as a dry run.
    #[must_use]
    pub fn dry(self) -> Mode {
        let dry_run = true;
        match self {
            Mode::Send { delete, ignore_times, .. } => Mode::Send { delete, ignore_times, dry_run },
            Mode::Remove { .. } => Mode::Remove { dry_run },
            Mode::DeleteOnly { gone, .. } => Mode::DeleteOnly { gone, dry_run },
            Mode::Check => Mode::Check,
        }
    }

    /// The same for a path that turns out to be gone at the sender.
    #[must_use]
    pub fn of_gone_path(self) -> Mode {
        match self {
            Mode::Send { dry_run, .. } => Mode::Remove { dry_run },
            Mode::DeleteOnly { dry_run, .. } => Mode::DeleteOnly { gone: true, dry_run },
            Mode::Remove { .. } | Mode::Check => self,
        }
    }

    /// What the log calls it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Check => "check",
            _ if self.changes_nothing() => "dry run",
            Mode::Send { delete: true, .. } => "send with deletion",
            Mode::Send { .. } => "send",
            Mode::Remove { .. } | Mode::DeleteOnly { .. } => "deletion",
        }
    }

    /// The deletion of a `send` that deletes, as a transfer of its own. None if it does not do both, or
    /// nothing of it.
    pub fn deletion(self) -> Option<Mode> {
        let both = self.sends_and_deletes() && !self.changes_nothing();
        both.then_some(Mode::DeleteOnly { gone: false, dry_run: false })
    }

    /// The same without what it deletes.
    #[must_use]
    pub fn without_deletion(self) -> Mode {
        match self {
            Mode::Send { ignore_times, dry_run, .. } => {
                Mode::Send { delete: false, ignore_times, dry_run }
            }
            other => other,
        }
    }

    /// Whether nothing is changed at the targets: they say what they need, and that is all.
    pub fn changes_nothing(self) -> bool {
        match self {
            Mode::Send { dry_run, .. }
            | Mode::Remove { dry_run }
            | Mode::DeleteOnly { dry_run, .. } => dry_run,
            Mode::Check => true,
        }
    }

    /// Whether no batch is committed: nothing is written, though something may be deleted.
    pub fn commits_nothing(self) -> bool {
        self.changes_nothing() || self.names_only()
    }

    /// Whether something is spooled at the targets, to be counted at the end.
    pub fn spools(self) -> bool {
        self.lists_surplus() || self.path_is_gone()
    }

    /// Whether what is spooled may be deleted.
    pub fn deletes(self) -> bool {
        self.spools() && !self.changes_nothing()
    }

    /// Whether the transfer wants its path for itself: what it lists must not change under it.
    pub fn is_exclusive(self) -> bool {
        self.deletes()
    }

    /// Whether what is in a listed directory and not at the sender is spooled.
    fn lists_surplus(self) -> bool {
        match self {
            Mode::Send { delete, .. } => delete,
            Mode::DeleteOnly { .. } | Mode::Check => true,
            Mode::Remove { .. } => false,
        }
    }

    /// Whether the path that the transfer is about is gone at the sender.
    pub fn path_is_gone(self) -> bool {
        matches!(self, Mode::Remove { .. } | Mode::DeleteOnly { gone: true, .. })
    }

    /// Whether deleting is all that it does.
    pub fn only_deletes(self) -> bool {
        matches!(self, Mode::Remove { .. } | Mode::DeleteOnly { .. })
    }

    /// Whether only names are sent.
    pub fn names_only(self) -> bool {
        matches!(self, Mode::DeleteOnly { .. })
    }

    /// Whether it writes, and then deletes what is not at the sender.
    pub fn sends_and_deletes(self) -> bool {
        matches!(self, Mode::Send { delete: true, .. })
    }

    /// Whether contents are compared by their digests, and that is all.
    pub fn is_check(self) -> bool {
        self == Mode::Check
    }

    /// Whether every regular file needs its data.
    pub fn ignores_times(self) -> bool {
        matches!(self, Mode::Send { ignore_times: true, .. })
    }
}

impl Default for Mode {
    fn default() -> Self {
        Mode::SEND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELETE: Mode = Mode::Send { delete: true, ignore_times: true, dry_run: false };
    const NAMES: Mode = Mode::DeleteOnly { gone: false, dry_run: false };
    const GONE_NAMES: Mode = Mode::DeleteOnly { gone: true, dry_run: false };
    const GONE: Mode = Mode::Remove { dry_run: false };

    #[test]
    fn what_each_mode_does() {
        // Spools, deletes, commits nothing.
        let table = [
            (Mode::SEND, [false, false, false]),
            (DELETE, [true, true, false]),
            (NAMES, [true, true, true]),
            (GONE_NAMES, [true, true, true]),
            (GONE, [true, true, false]),
            (Mode::Check, [true, false, true]),
        ];
        for (mode, does) in table {
            assert_eq!([mode.spools(), mode.deletes(), mode.commits_nothing()], does, "{mode:?}");
            assert_eq!(mode.changes_nothing(), mode == Mode::Check);
            let dry = mode.dry();
            assert!(dry.changes_nothing() && dry.commits_nothing() && !dry.is_exclusive());
            assert_eq!(dry.spools(), does[0], "{mode:?}");
            assert_eq!(dry.dry(), dry);
        }
    }

    #[test]
    fn what_deletes_first_is_two() {
        let sends = Mode::Send { delete: false, ignore_times: true, dry_run: false };
        assert_eq!((DELETE.deletion(), DELETE.without_deletion()), (Some(NAMES), sends));
        for one in [DELETE.dry(), Mode::SEND, NAMES, Mode::Check] {
            assert_eq!(one.deletion(), None, "{one:?}");
        }
    }

    #[test]
    fn what_becomes_of_a_path_that_is_gone() {
        assert_eq!(DELETE.of_gone_path(), GONE);
        assert_eq!(Mode::SEND.dry().of_gone_path(), GONE.dry());
        assert_eq!(NAMES.of_gone_path(), GONE_NAMES);
        assert_eq!(NAMES.dry().of_gone_path(), GONE_NAMES.dry());
        for gone in [GONE, GONE_NAMES] {
            assert!(gone.path_is_gone() && gone.only_deletes() && gone.of_gone_path() == gone);
        }
        assert!(NAMES.only_deletes() && !NAMES.path_is_gone() && !DELETE.only_deletes());
    }
}
