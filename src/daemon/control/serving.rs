//! Doing what other hosts ask for (`fetch`): transfers to them alone.

use std::sync::Arc;

use super::control_loop::Control;
use super::served::Stage;
use super::transfers::{Asker, refused};
use crate::console::command::{Follow, Scope, Transfer};
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::Said;
use crate::daemon::again::{Results, Unreached};
use crate::daemon::caller::Caller;
use crate::daemon::messages::ToSender;
use crate::daemon::order::Order;
use crate::daemon::shared::lock;
use crate::daemon::unread::Unread;
use crate::engine::members::Member;
use crate::ids::Ticket;
use crate::name::NodeId;
use crate::pattern::Patterns;
use crate::time::Time;
use crate::wire::bytes::Reader;
use crate::wire::fetch::{End, Fetch, Over, Request, State, Trouble};

impl Control {
    /// A member asks for something, or how far that is.
    pub(super) fn asked(&mut self, now: Time, node: NodeId, fetch: Fetch) {
        let (Fetch::Ask { ticket, .. }
        | Fetch::Wait(ticket)
        | Fetch::Stop(ticket)
        | Fetch::State(ticket, _)) = fetch;
        let is_known = self.served.of(node, ticket).is_some();
        let is_part = matches!(fetch, Fetch::Ask { .. });
        match fetch {
            Fetch::State(_, state) => return self.donor_says(now, node, ticket, state),
            Fetch::Stop(_) if is_known => return self.unserve(node),
            Fetch::Stop(_) => return,
            Fetch::Wait(_) => {}
            Fetch::Ask { len, offset, bytes, .. } => {
                if !is_known {
                    // What it has asked for before it does not want any more.
                    self.unserve(node);
                    if !self.served.begin(now, node, ticket, len as usize) {
                        return self.say_state(node, ticket, State::Over(Over::nothing(End::Busy)));
                    }
                }
                let request = self.served.get(node).and_then(|it| it.take(offset as usize, &bytes));
                if let Some(request) = request {
                    self.request(now, node, &request);
                }
            }
        }
        let state = self.served.of(node, ticket).map_or(State::Unknown, |asked| {
            asked.heard = now;
            asked.state()
        });
        // After a part that is not the last nobody waits for an answer.
        if !(is_part && state == State::Unknown) {
            self.say_state(node, ticket, state);
        }
    }

    /// A request has come.
    fn request(&mut self, now: Time, node: NodeId, request: &[u8]) {
        let member = self.membership.members.get(node).cloned();
        let is_busy = self.served.is_busy(node, &lock(&self.shared.open));
        let Some(asked) = self.served.get(node) else { return };
        let (Ok(request), Some(member)) = (Request::parse(request), member) else {
            return asked.over(End::Refused);
        };
        asked.level = request.level;
        let order = match self.settings.no_send {
            true => Err(ErrorLine::cannot_send()),
            false => order_of(&request, &member, asked.ticket),
        };
        let order = match order {
            Ok(order) => Arc::new(order),
            Err(error) => {
                asked.note(&error);
                return asked.over(End::Refused);
            }
        };
        if request.unless_behind && self.catching_up.is_behind(&self.settings.name, &request.path) {
            asked.over(End::Behind);
        } else if is_busy {
            asked.over(End::Busy);
        } else {
            self.serve(now, &member, order);
        }
    }

    /// Starts a transfer to a member that has asked for it.
    fn serve(&mut self, now: Time, member: &Member, order: Arc<Order>) {
        let (number, client) = (self.next_number, self.draw_client());
        let unread = Unread::default();
        let Some(level) = self.served.get(member.node).map(|asked| asked.level) else { return };
        let targets = order.again().map_or_else(|| vec![member.clone()], <[Member]>::to_vec);
        let command = format!("fetch {}", order.path_shown());
        let asker = Asker {
            client,
            level,
            follow: Follow::Off,
            unread: unread.clone(),
            command: command.clone(),
        };
        let started = self.launch_to(now, &order, asker, (targets, Vec::new()), false);
        let Some(asked) = self.served.get(member.node) else { return };
        match started {
            Ok(order) => {
                self.served.begun(member.node, number);
                let Some(asked) = self.served.get(member.node) else { return };
                asked.transfers += 1;
                asked.stage = Stage::Running { client, number, order, unread };
            }
            Err(refusal) => {
                refusal.errors.iter().for_each(|error| asked.note(error));
                let why = refusal.errors.first().map_or("it has left", ErrorLine::text);
                refused(&self.shared.counters.out, &order, &command, why);
                asked.over(End::Refused);
            }
        }
    }

    /// What a transfer says that another host has asked for.
    pub(super) fn served_lines(&mut self, client: u32, lines: &[Said]) {
        let Some((_, asked)) = self.served.find(client) else { return };
        if let Stage::Running { unread, .. } = &asked.stage {
            // They are read.
            if unread.set(unread.get(), 0) {
                self.shared.sender.send(ToSender::Resume);
            }
        }
        for said in lines {
            match said {
                Said::Error(error) => asked.note(error),
                Said::Line(0, text) => asked.remark(text),
                Said::Line(..) | Said::Differs(_) => {}
            }
        }
    }

    /// A transfer that another host has asked for is over.
    pub(super) fn served_over(
        &mut self,
        now: Time,
        client: u32,
        results: Results,
        unreached: Option<Unreached>,
    ) {
        let Some((node, asked)) = self.served.find(client) else { return };
        let Stage::Running { order, .. } = &asked.stage else { return };
        asked.wire += results.1.wire;
        if unreached.is_some() {
            // The one that follows is in its place.
            asked.transfers -= 1;
        }
        match Arc::clone(order).over(results, unreached) {
            Ok((_, total)) if total.failed == 0 => asked.over(End::Done),
            Ok(_) => asked.over(End::Failed),
            Err(next) => match self.membership.members.get(node).cloned() {
                Some(member) => self.serve(now, &member, next),
                None => asked.over(End::Failed),
            },
        }
        self.say_served(node);
    }

    /// Another host's transfer holds the path of one that was asked for.
    pub(super) fn served_held(&mut self, client: u32, who: &str) {
        let Some((node, asked)) = self.served.find(client) else { return };
        asked.troubles = vec![Trouble {
            is_there: false,
            path: String::new(),
            code: Code::Held.to_string(),
            text: who.to_owned(),
        }];
        asked.over(End::Held);
        self.say_served(node);
    }

    fn say_served(&mut self, node: NodeId) {
        let said = self.served.get(node).map(|asked| (asked.ticket, asked.state()));
        said.into_iter().for_each(|(ticket, state)| self.say_state(node, ticket, state));
    }

    fn say_state(&mut self, node: NodeId, ticket: Ticket, state: State) {
        self.membership.say_fetch(node, &Fetch::State(ticket, state));
    }

    /// A member has gone, or does not want any more what it has asked for.
    pub(super) fn unserve(&mut self, node: NodeId) {
        if let Some(number) = self.served.remove(node) {
            self.shared.sender.send(ToSender::Abort(number));
        }
    }
}

/// The order for what a member asks.
fn order_of(request: &Request, member: &Member, ticket: Ticket) -> Result<Order, ErrorLine> {
    let mut patterns = Patterns::default();
    if !request.patterns.is_empty() {
        patterns
            .extend(&mut Reader::new(&request.patterns))
            .map_err(|error| ErrorLine::new(Code::InvalidPattern, error))?;
    }
    if !member.receives {
        let why = format!("{} never receives", member.name);
        return Err(ErrorLine::new(Code::NeverReceives, why));
    }
    let scope = match (request.recursive, request.or_gone) {
        (true, _) => Scope::Tree,
        (false, true) => Scope::PathOrGone,
        (false, false) => Scope::Path,
    };
    let transfer = Transfer {
        scope,
        checksum: request.checksum,
        lax_attributes: request.lax_attributes,
        delete_before: request.delete_before,
        force: request.forced,
        max_delete: request.max_delete,
        ..Transfer::new(request.mode, request.path.clone())
    };
    let caller = Caller::member(&member.name);
    Ok(Order::new(transfer, &Arc::new(patterns), caller).asked_for(ticket))
}
