//! The sender thread: drives the outgoing transfers in turn, and sends their packets.

use std::sync::Arc;

use super::outgoing_transfer::{OutgoingTransfer, Turn};
use super::packets_out::PacketsOut;
use crate::daemon::clock;
use crate::daemon::messages::{ToControl, ToSender};
use crate::daemon::shared::{Shared, lock};
use crate::ids::TransferNo;
use crate::time::Time;

/// The most sends of one transfer before it is the next one's turn.
const TURN: usize = 4;

pub(crate) struct Sender {
    shared: Arc<Shared>,
    transfers: Vec<Driven>,
    out: PacketsOut,
    stopping: bool,
}

/// A transfer, and how its last turn ended.
struct Driven {
    transfer: OutgoingTransfer,
    turn: Turn,
}

impl Sender {
    /// `rate`: the most bytes a second.
    pub(crate) fn new(shared: Arc<Shared>, rate: Option<f64>) -> Self {
        let out = PacketsOut::new(Arc::clone(&shared), rate);
        Sender { shared, transfers: Vec::new(), out, stopping: false }
    }

    /// Runs until told to stop, then aborts all transfers.
    pub(crate) fn run(mut self) {
        loop {
            let now = clock::now();
            let timeout = self.next(now).map(|at| at.since(now));
            let messages = self.shared.sender.wait(timeout);
            let now = clock::now();
            for message in messages {
                self.message(now, message);
            }
            self.all().for_each(|transfer| transfer.timeout(now));
            for driven in &mut self.transfers {
                driven.turn = driven.transfer.drive(now, &mut self.out, TURN);
            }
            self.out.flush(now);
            self.reap();
            if self.stopping {
                // No answers are read any more. Targets that miss the abort will see the BYE.
                return;
            }
        }
    }

    /// When the next action is due: immediately while any transfer has more to send.
    fn next(&self, now: Time) -> Option<Time> {
        let open = self.out.next();
        self.transfers
            .iter()
            .filter_map(|driven| {
                if driven.turn == Turn::More && self.out.open(now) {
                    return Some(now);
                }
                let at = driven.transfer.poll_timeout()?;
                // Under the rate limit, blocks wait, and what is due wakes up with them.
                Some(if at <= now { open.unwrap_or(now).max(at) } else { at })
            })
            .min()
    }

    fn message(&mut self, now: Time, message: ToSender) {
        match message {
            ToSender::Start(new) => {
                let transfer = OutgoingTransfer::new(Arc::clone(&self.shared), *new, now);
                self.transfers.push(Driven { transfer, turn: Turn::More });
            }
            ToSender::Feedback { node, number, batch, feedback } => {
                if let Some(transfer) = self.find(number) {
                    transfer.feedback(now, node, batch, feedback);
                }
            }
            ToSender::Abort(number) => {
                if let Some(transfer) = self.find(number) {
                    transfer.abort(now);
                }
            }
            ToSender::Gone(node) => self.all().for_each(|transfer| transfer.member_gone(now, node)),
            ToSender::Anew => {
                self.out.begin_anew();
                self.all().for_each(|transfer| transfer.address_changed(now));
            }
            ToSender::Agreed(number, decided, ended) => {
                if let Some(transfer) = self.find(number) {
                    transfer.agreed(now, decided, &ended);
                }
            }
            ToSender::Walked | ToSender::Resume => {}
            ToSender::Stop => {
                self.stopping = true;
                self.all().for_each(|transfer| transfer.abort(now));
            }
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut OutgoingTransfer> {
        self.transfers.iter_mut().map(|driven| &mut driven.transfer)
    }

    fn find(&mut self, number: TransferNo) -> Option<&mut OutgoingTransfer> {
        self.all().find(|transfer| transfer.number() == number)
    }

    /// Removes finished transfers.
    fn reap(&mut self) {
        let shared = &self.shared;
        self.transfers.retain(|Driven { transfer, .. }| {
            if transfer.is_over() {
                lock(&shared.sends).remove(&transfer.number());
                lock(&shared.open).remove(&transfer.number());
            }
            !transfer.is_over()
        });
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.stopping {
            self.shared.control.send(ToControl::Died("sender"));
        }
    }
}
