//! The sender thread: drives the outgoing transfers, fairly, and sends what they give.

use std::sync::Arc;

use super::outgoing_transfer::OutgoingTransfer;
use super::packets_out::Wire;
use crate::daemon::clock;
use crate::daemon::messages::{ToControl, ToSender};
use crate::daemon::shared::{Shared, lock};
use crate::time::Time;

/// So many sends of one transfer before the next has its turn.
const TURN: usize = 4;

pub(crate) struct Sender {
    shared: Arc<Shared>,
    transfers: Vec<OutgoingTransfer>,
    wire: Wire,
    stopping: bool,
}

impl Sender {
    /// `rate`: bytes a second at the most.
    pub(crate) fn new(shared: Arc<Shared>, rate: Option<f64>) -> Self {
        let wire = Wire::new(Arc::clone(&shared), rate);
        Sender { shared, transfers: Vec::new(), wire, stopping: false }
    }

    /// Runs until it is told to stop; then it aborts everything.
    pub(crate) fn run(mut self) {
        loop {
            let now = clock::now();
            let timeout = self.next(now).map(|at| at.since(now));
            let messages = self.shared.sender.wait(timeout);
            let now = clock::now();
            for message in messages {
                self.message(now, message);
            }
            for transfer in &mut self.transfers {
                transfer.timeout(now);
            }
            for transfer in &mut self.transfers {
                transfer.drive(now, &mut self.wire, TURN);
            }
            self.wire.flush(now);
            self.reap();
            if self.stopping {
                // Nobody hears the answers any more; who misses this hears BYE.
                return;
            }
        }
    }

    /// When something is to be done: at once while any transfer has more to send.
    fn next(&self, now: Time) -> Option<Time> {
        let open = self.wire.next();
        self.transfers
            .iter()
            .filter_map(|transfer| {
                if transfer.has_more() && self.wire.open(now) {
                    return Some(now);
                }
                let at = transfer.poll_timeout()?;
                // A full bucket holds back blocks, and everything that is not yet due.
                Some(if at <= now { open.unwrap_or(now).max(at) } else { at })
            })
            .min()
    }

    fn message(&mut self, now: Time, message: ToSender) {
        match message {
            ToSender::Start(new) => {
                let shared = Arc::clone(&self.shared);
                self.transfers.push(OutgoingTransfer::new(shared, *new, now));
            }
            ToSender::Feedback { node, number, batch, feedback } => {
                if let Some(transfer) =
                    self.transfers.iter_mut().find(|transfer| transfer.number() == number)
                {
                    transfer.feedback(now, node, batch, feedback);
                }
            }
            ToSender::Abort(number) => {
                if let Some(transfer) =
                    self.transfers.iter_mut().find(|transfer| transfer.number() == number)
                {
                    transfer.abort(now);
                }
            }
            ToSender::Gone(node) => {
                self.transfers.iter_mut().for_each(|transfer| transfer.member_gone(now, node))
            }
            ToSender::Walked | ToSender::Resume => {}
            ToSender::Stop => {
                self.stopping = true;
                self.transfers.iter_mut().for_each(|transfer| transfer.abort(now));
            }
        }
    }

    /// Lets go of the transfers that are over.
    fn reap(&mut self) {
        let shared = &self.shared;
        self.transfers.retain_mut(|transfer| {
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
