//! The clients that wait until all is sent that was changed before they asked.

use std::collections::BTreeSet;

use crate::console::error::ErrorLine;
use crate::name::RelPath;
use crate::watch::types::WatchNo;

/// All of them.
#[derive(Default)]
pub(super) struct Waiting {
    clients: Vec<Client>,
    next_cookie: u64,
}

struct Client {
    client: u32,
    path: RelPath,
    cookie: u64,
    left: BTreeSet<WatchNo>,
    errors: Vec<ErrorLine>,
}

impl Waiting {
    /// A client waits for what was changed at this path, of these watches, and these errors are known. Returns what the watches are to name.
    pub(super) fn begin(
        &mut self,
        (client, path): (u32, &RelPath),
        left: BTreeSet<WatchNo>,
        errors: Vec<ErrorLine>,
    ) -> u64 {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.clients.push(Client { client, path: path.clone(), cookie, left, errors });
        cookie
    }

    /// What is asked about, if somebody still waits.
    pub(super) fn path(&self, cookie: u64) -> Option<&RelPath> {
        self.clients.iter().find(|client| client.cookie == cookie).map(|client| &client.path)
    }

    /// A client has left.
    pub(super) fn left(&mut self, client: u32) {
        self.clients.retain(|one| one.client != client);
    }

    /// A watch has sent all that it was asked for, but for this.
    pub(super) fn reached(
        &mut self,
        watch: WatchNo,
        cookie: u64,
        errors: impl Iterator<Item = ErrorLine>,
    ) {
        let asked = self.clients.iter_mut().find(|client| client.cookie == cookie);
        if let Some(client) = asked.filter(|client| client.left.contains(&watch)) {
            client.left.remove(&watch);
            client.errors.extend(errors);
        }
    }

    /// A watch is no more: who waited for it is told.
    pub(super) fn ended(&mut self, watch: WatchNo, error: &ErrorLine) {
        for client in &mut self.clients {
            if client.left.remove(&watch) {
                client.errors.push(error.clone());
            }
        }
    }

    /// A client that waits no longer, with what there is to say.
    pub(super) fn poll(&mut self) -> Option<(u32, Vec<ErrorLine>)> {
        let at = self.clients.iter().position(|client| client.left.is_empty())?;
        let Client { client, errors, .. } = self.clients.swap_remove(at);
        Some((client, errors))
    }
}
