//! What leaves a transfer: packets that wait for nothing, and events for the driver.

use std::collections::VecDeque;

use super::types::{Event, Transmit};
use crate::engine::destination::Destination;
use crate::ids::TransferNo;
use crate::name::NodeId;
use crate::wire::header::{Header, PacketKind, Role};

/// What waits to be taken by the driver.
#[derive(Debug)]
pub(super) struct Outbox {
    me: NodeId,
    transfer: TransferNo,
    packets: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Outbox {
    pub(super) fn new(me: NodeId, transfer: TransferNo) -> Self {
        Outbox { me, transfer, packets: VecDeque::new(), events: VecDeque::new() }
    }

    /// A header of this transfer.
    pub(super) fn header(&self, kind: PacketKind) -> Header {
        let mut header = Header::new(kind, self.me, Role::Sender);
        header.transfer = self.transfer;
        header
    }

    /// A packet that needs no more in its header than its kind.
    pub(super) fn send(&mut self, to: Destination, kind: PacketKind, payload: Vec<u8>) {
        let header = self.header(kind);
        self.packet(to, header, payload);
    }

    /// A packet.
    pub(super) fn packet(&mut self, to: Destination, header: Header, payload: Vec<u8>) {
        self.packets.push_back(Transmit::Packet { to, header, payload });
    }

    /// Sends the last packet twice: nothing follows that would do if it were lost.
    pub(super) fn double_last(&mut self) {
        self.packets.extend(self.packets.back().cloned());
    }

    /// The next packet.
    pub(super) fn next_packet(&mut self) -> Option<Transmit> {
        self.packets.pop_front()
    }

    /// Whether no packet waits.
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Packets that have not left are not sent.
    pub(super) fn drop_packets(&mut self) {
        self.packets.clear();
    }

    /// Something for the driver.
    pub(super) fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// The next thing for the driver.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_and_events_leave_in_order() {
        let mut outbox = Outbox::new(NodeId(7), TransferNo::new(3));
        outbox.send(Destination::Group, PacketKind::End, vec![1]);
        outbox.send(Destination::Group, PacketKind::Abort, vec![2]);
        outbox.double_last();
        let mut payloads = Vec::new();
        while let Some(Transmit::Packet { header, payload, .. }) = outbox.next_packet() {
            assert_eq!((header.node, header.transfer), (NodeId(7), TransferNo::new(3)));
            payloads.push(payload[0]);
        }
        assert_eq!(payloads, [1, 2, 2]);
        outbox.double_last();
        assert!(outbox.is_empty());
        outbox.event(Event::Finished);
        assert_eq!((outbox.next_event(), outbox.next_event()), (Some(Event::Finished), None));
    }
}
