//! The sender thread: drives the outgoing transfers, fairly, and sends what they give.

use std::sync::Arc;

use crate::daemon::clock;
use crate::daemon::sending::outgoing_transfer::Job;
use crate::daemon::sending::packets_out::Wire;
use crate::daemon::shared::{Shared, ToControl, lock};
use crate::ids::{BatchNo, TransferNo};
use crate::name::NodeId;
use crate::time::Time;
use crate::wire::feedback::Feedback;

/// Something for the sender.
pub(crate) enum ToSender {
    /// A new transfer.
    Start(Box<Job>),
    /// A target's answer, from its own address.
    Feedback { node: NodeId, number: TransferNo, batch: BatchNo, feedback: Feedback },
    /// A walker has something.
    Walked,
    /// A client's unread output has become less.
    Resume,
    /// A transfer's client has gone.
    Abort(TransferNo),
    /// A member has left.
    Gone(NodeId),
    /// The daemon ends: abort everything.
    Stop,
}

/// So many sends of one transfer before the next has its turn.
const TURN: usize = 4;

pub(crate) struct Sender {
    shared: Arc<Shared>,
    jobs: Vec<Job>,
    wire: Wire,
    stopping: bool,
}

impl Sender {
    /// `rate`: bytes a second at the most.
    pub(crate) fn new(shared: Arc<Shared>, rate: Option<f64>) -> Self {
        let wire = Wire::new(Arc::clone(&shared), rate);
        Sender { shared, jobs: Vec::new(), wire, stopping: false }
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
            for job in &mut self.jobs {
                job.timeout(now);
            }
            for job in &mut self.jobs {
                job.drive(now, &mut self.wire, TURN);
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
        self.jobs
            .iter()
            .filter_map(|job| {
                if job.has_more() && self.wire.open(now) {
                    return Some(now);
                }
                let at = job.poll_timeout()?;
                // A full bucket holds back blocks, and everything that is not yet due.
                Some(if at <= now { open.unwrap_or(now).max(at) } else { at })
            })
            .min()
    }

    fn message(&mut self, now: Time, message: ToSender) {
        match message {
            ToSender::Start(job) => self.jobs.push(*job),
            ToSender::Feedback { node, number, batch, feedback } => {
                if let Some(job) = self.jobs.iter_mut().find(|job| job.number() == number) {
                    job.feedback(now, node, batch, feedback);
                }
            }
            ToSender::Abort(number) => {
                if let Some(job) = self.jobs.iter_mut().find(|job| job.number() == number) {
                    job.abort(now);
                }
            }
            ToSender::Gone(node) => self.jobs.iter_mut().for_each(|job| job.member_gone(now, node)),
            ToSender::Walked | ToSender::Resume => {}
            ToSender::Stop => {
                self.stopping = true;
                self.jobs.iter_mut().for_each(|job| job.abort(now));
            }
        }
    }

    /// Lets go of the transfers that are over.
    fn reap(&mut self) {
        let shared = &self.shared;
        self.jobs.retain_mut(|job| {
            if job.is_over() {
                lock(&shared.sends).remove(&job.number());
                lock(&shared.open).remove(&job.number());
            }
            !job.is_over()
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
