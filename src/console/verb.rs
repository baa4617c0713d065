//! The names of all commands, and which of them a daemon offers.
#![forbid(unsafe_code)]

/// What a daemon offers, beyond what a session does by itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Offer {
    /// `send`.
    pub send: bool,
    /// `-g` of `send` and `sync`.
    pub group: bool,
    /// `--delete`, `--force` and `--max-delete` of `send` and `sync`.
    pub delete: bool,
    /// `-I` and `--checksum` of `send` and `sync`.
    pub compare: bool,
    /// `--atomic` and `--quorum` of `send` and `sync`.
    pub atomic: bool,
    /// `sync`.
    pub sync: bool,
    /// `dsync`.
    pub dsync: bool,
    /// `check`, `md5`.
    pub check: bool,
    /// `fetch`.
    pub fetch: bool,
    /// `members`, `forget`.
    pub members: bool,
    /// `status`, `metrics`, `doctor`.
    pub status: bool,
    /// `history`.
    pub history: bool,
    /// `watch`, `flush`, `release`.
    pub watch: bool,
    /// `mirror`, `conflicts`.
    pub mirror: bool,
    /// `exclude` and `include`: the daemon applies [`super::Session::patterns`].
    pub exclude: bool,
    /// `files`, and `--listed` of `send` and `check`.
    pub files: bool,
    /// `report`: the daemon reports each host by [`super::Session::host`].
    pub report: bool,
}

impl Offer {
    /// Everything there is.
    pub const ALL: Offer = Offer {
        send: true,
        group: true,
        delete: true,
        compare: true,
        atomic: true,
        sync: true,
        dsync: true,
        check: true,
        fetch: true,
        members: true,
        status: true,
        history: true,
        watch: true,
        mirror: true,
        exclude: true,
        files: true,
        report: true,
    };

    fn has(&self, verb: Verb) -> bool {
        match verb {
            Verb::Send => self.send,
            Verb::Sync => self.sync,
            Verb::Dsync => self.dsync,
            Verb::Check => self.check,
            Verb::Fetch => self.fetch,
            Verb::Members | Verb::Forget => self.members,
            Verb::Status | Verb::Metrics | Verb::Doctor => self.status,
            Verb::History => self.history,
            Verb::Watch | Verb::Flush | Verb::Release => self.watch,
            Verb::Mirror | Verb::Conflicts => self.mirror,
            Verb::Exclude | Verb::Include => self.exclude,
            Verb::Files => self.files,
            Verb::Report => self.report,
            Verb::Alive | Verb::Loglevel | Verb::Progress => true,
            Verb::Echo | Verb::Help | Verb::Quit => true,
        }
    }
}

/// Every command there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Send,
    Sync,
    Dsync,
    Check,
    Fetch,
    Members,
    Status,
    Doctor,
    Metrics,
    History,
    Forget,
    Watch,
    Flush,
    Release,
    Mirror,
    Conflicts,
    Exclude,
    Include,
    Files,
    Alive,
    Loglevel,
    Progress,
    Report,
    Echo,
    Help,
    Quit,
}

/// The names of all commands; help shows the first name of each.
pub(super) const VERBS: &[(&str, Verb)] = &[
    ("send", Verb::Send),
    ("sync", Verb::Sync),
    ("dsync", Verb::Dsync),
    ("check", Verb::Check),
    ("md5", Verb::Check),
    ("fetch", Verb::Fetch),
    ("members", Verb::Members),
    ("status", Verb::Status),
    ("doctor", Verb::Doctor),
    ("metrics", Verb::Metrics),
    ("history", Verb::History),
    ("forget", Verb::Forget),
    ("watch", Verb::Watch),
    ("flush", Verb::Flush),
    ("release", Verb::Release),
    ("mirror", Verb::Mirror),
    ("conflicts", Verb::Conflicts),
    ("exclude", Verb::Exclude),
    ("include", Verb::Include),
    ("files", Verb::Files),
    ("alive", Verb::Alive),
    ("loglevel", Verb::Loglevel),
    ("progress", Verb::Progress),
    ("report", Verb::Report),
    ("echo", Verb::Echo),
    ("help", Verb::Help),
    ("quit", Verb::Quit),
    ("exit", Verb::Quit),
    ("bye", Verb::Quit),
];

/// The names of all commands.
pub fn names() -> impl Iterator<Item = &'static str> {
    VERBS.iter().map(|(name, _)| *name)
}

impl Verb {
    /// The command called `name`, if it is offered.
    pub(super) fn named(name: &[u8], offer: &Offer) -> Option<Verb> {
        let (_, verb) = VERBS.iter().find(|(known, _)| known.as_bytes() == name)?;
        offer.has(*verb).then_some(*verb)
    }
}
