//! The limit on clients, and which of them are closed.

use std::cmp::Reverse;

use super::client::Client;
use crate::log;
use crate::time::Time;

/// The most clients at a time.
const MOST: usize = 64;

/// Whether there is room for another client.
pub(crate) enum Room {
    /// There was room.
    Free,
    /// This client was closed to make room. What it had asked for has to be ended.
    Left(Box<Client>),
    /// There is no room: all clients are running commands.
    Full,
}

/// Makes room for the new client `id`. At the limit, the client that has been idle the longest is
/// closed, so that idle connections cannot keep others out.
pub(crate) fn make_room(clients: &mut Vec<Client>, id: u32, now: Time) -> Room {
    if clients.len() < MOST {
        return Room::Free;
    }
    let spare = clients.iter().enumerate().filter_map(|(at, one)| Some((one.spare(now)?, at)));
    let Some((_, at)) = spare.max_by_key(|&(spare, at)| (spare, Reverse(at))) else {
        let text =
            format_args!("client {id} refused: all {MOST} connected clients are running commands");
        log::limited(log::Level::WARNING, "full", None, text);
        return Room::Full;
    };
    let mut client = clients.remove(at);
    client.dismiss(now);
    log::limited(
        log::Level::WARNING,
        "room",
        None,
        format_args!(
            "client {} closed to make room for client {id}: {MOST} clients were connected, and it was \
             idle the longest",
            client.id
        ),
    );
    Room::Left(Box::new(client))
}

/// Whether a client has timed out and has to be closed; logs why.
pub(crate) fn is_late(client: &Client, now: Time) -> bool {
    let Some(why) = client.is_late(now) else { return false };
    let text = format_args!("client {} closed: {why}", client.id);
    log::limited(log::Level::WARNING, "late", None, text);
    true
}

#[cfg(test)]
mod tests {
    use super::super::client::Stream;
    use super::*;
    use crate::console::password::Secret;
    use crate::console::session::Session;
    use crate::console::verb::Offer;
    use crate::time::Span;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    struct Pair(Client, UnixStream);

    fn client(id: u32, session: Session, now: Time) -> Pair {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(id, Stream::Unix(ours), session, now).unwrap();
        client.write(now);
        Pair(client, theirs)
    }

    fn open() -> Session {
        Session::new(Offer::ALL)
    }

    fn guarded() -> Session {
        Session::guarded(Offer::ALL, Secret::new(b"secret"))
    }

    fn at(secs: u64) -> Time {
        Time::default() + Span::from_secs(1) * secs
    }

    /// The client says `text`; what it is asked to do.
    fn say(Pair(client, theirs): &mut Pair, text: &str, now: Time) {
        theirs.write_all(text.as_bytes()).unwrap();
        client.read(false);
        client.session.answer();
        while client.session.next_command().is_some() {}
        client.write(now);
        client.note_prompt(now);
    }

    #[test]
    fn who_says_nothing_is_closed_after_a_minute_and_who_has_spoken_is_not() {
        let mut silent = client(1, open(), at(0));
        assert_eq!((silent.0.is_late(at(59)), silent.0.late_at()), (None, Some(at(60))));
        assert_eq!(silent.0.is_late(at(60)), Some("it sent no command"));
        // Half a line is none.
        say(&mut silent, "statu", at(1));
        assert!(silent.0.is_late(at(60)).is_some());
        say(&mut silent, "s\n", at(2));
        silent.0.session.finish();
        silent.0.write(at(2));
        assert_eq!((silent.0.is_late(at(100_000)), silent.0.late_at()), (None, None));
        let mut locked = client(2, guarded(), at(0));
        assert_eq!(locked.0.is_late(at(60)), Some("it gave no password"));
        say(&mut locked, "secret\n", at(2));
        assert_eq!(locked.0.is_late(at(100_000)), None);
    }

    #[test]
    fn who_reads_nothing_is_closed_sooner_at_the_prompt_than_at_work() {
        let mut deaf = client(1, open(), at(0));
        say(&mut deaf, "echo\n", at(0));
        let mut lines = 0;
        while deaf.0.session.unread() == 0 {
            deaf.0.session.input(b"help\n");
            deaf.0.session.next_command();
            deaf.0.write(at(1));
            lines += 1;
        }
        assert_eq!(deaf.0.is_late(at(60)), None);
        assert_eq!(deaf.0.is_late(at(61)), Some("it did not read its output"));
        // What is obeyed waits until there is room.
        let before = deaf.0.session.unread();
        for _ in 0..1_000 {
            deaf.0.session.input(b"help\n");
            assert_eq!(deaf.0.session.next_command(), None);
        }
        let full = deaf.0.session.unread();
        assert!(full > before && full < 100_000, "{full} bytes");
        let mut got = vec![0; 1 << 16];
        let mut answered = 0;
        for _ in 0..100_000 {
            while deaf.0.session.next_command().is_some() {}
            deaf.0.write(at(2));
            if deaf.0.session.unread() == 0 && !deaf.0.session.can_obey() {
                break;
            }
            answered += deaf.1.read(&mut got).unwrap();
        }
        assert!(deaf.0.session.unread() == 0 && answered > full && lines > 0);
        // A command at work has ten minutes.
        let mut busy = client(2, open(), at(0));
        busy.0.session.input(b"send -r\n");
        assert!(busy.0.session.next_command().is_some());
        while busy.0.session.unread() == 0 {
            busy.0.session.line(0, &"x".repeat(10_000));
            busy.0.write(at(0));
        }
        assert_eq!(
            (busy.0.is_late(at(599)), busy.0.is_late(at(600))),
            (None, Some("it did not read its output"))
        );
    }

    #[test]
    fn the_one_longest_at_the_prompt_makes_room_and_none_that_works() {
        let mut theirs = Vec::new();
        let mut clients: Vec<Client> = Vec::new();
        let mut add = |clients: &mut Vec<Client>, id, session, now| {
            let Pair(one, other) = client(id, session, now);
            theirs.push(other);
            clients.push(one);
        };
        for id in 1..=64 {
            assert!(matches!(make_room(&mut clients, id, at(id.into())), Room::Free));
            add(&mut clients, id, open(), at(id.into()));
        }
        // The oldest works, the next has just been answered.
        clients[0].session.input(b"send -r\n");
        assert!(clients[0].session.next_command().is_some());
        clients[1].session.input(b"echo x\n");
        clients[1].session.next_command();
        clients[1].write(at(70));
        clients.iter_mut().for_each(|client| client.note_prompt(at(70)));
        assert!(matches!(make_room(&mut clients, 65, at(71)), Room::Left(_)));
        let ids: Vec<u32> = clients.iter().map(|client| client.id).collect();
        assert_eq!(ids, (1..=64).filter(|id| *id != 3).collect::<Vec<_>>());
        add(&mut clients, 65, guarded(), at(71));
        // Before all others those that have not given the password.
        assert!(matches!(make_room(&mut clients, 66, at(72)), Room::Left(_)));
        assert!(clients.iter().all(|client| client.id != 65));
        add(&mut clients, 66, open(), at(72));
        // A line that has come and was not looked at yet is as good as a command.
        clients.iter_mut().for_each(|client| client.session.input(b"send -r\n"));
        assert!(matches!(make_room(&mut clients, 67, at(73)), Room::Full));
        let mut said = String::new();
        drop(clients);
        theirs[2].read_to_string(&mut said).unwrap();
        assert_eq!(said, "> error: too many clients\n");
    }
}
