//! A connection to the console: any bytes in any pieces, beside a daemon that works at what it is
//! told to.

use super::input::Input;
use makuosan::console::password::{ASK, Secret};
use makuosan::console::reply::Progress;
use makuosan::console::{Command, MAX_LINE, Offer, Session};
use makuosan::name::{Escaped, RelPath};

const MOST: usize = 2_000;
/// The most that is read at once.
const CHUNK: usize = 4_096;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.u8();
    let mut session = match flags & 3 {
        0 => Session::guarded(Offer::ALL, Secret::new(b"secret")),
        1 => Session::new(Offer::default()),
        _ => Session::new(Offer::ALL),
    };
    let mut output = Vec::new();
    let mut count = 0;
    while !input.is_empty() && count < MOST {
        count += 1;
        let op = input.u8();
        match op & 15 {
            // What arrives, with and without the ends of lines; a client must not write more than
            // the session reads.
            0..=6 if session.wants_input() => {
                session.input(input.bytes(255));
                if op & 16 != 0 {
                    session.input(b"\n");
                }
            }
            7 if session.wants_input() => {
                let repeated = [input.u8()].repeat(CHUNK.min(16 * usize::from(input.u8())));
                session.input(&repeated);
            }
            8 if session.is_busy() => session.line(op >> 4, &Escaped(input.bytes(30)).to_string()),
            9 if session.is_busy() => session.lines(0, &String::from_utf8_lossy(input.bytes(60))),
            10 if session.is_busy() => {
                session.progress(&Progress::default());
                session.alive_tick();
            }
            11 => session.finish(),
            12 => take(&mut session, &mut output, input.u8().into()),
            13 if op >> 4 == 0 => session.end_of_input(),
            _ => {}
        }
        if session.wants_answer() {
            session.answer();
        }
        while let Some(command) = session.next_command() {
            check(&command);
            if op & 32 != 0 {
                session.finish();
            }
            assert!(session.is_busy() || op & 32 != 0 || matches!(command, Command::Quit));
        }
        assert!(session.current().len() <= 4 * MAX_LINE);
        assert!(!session.current().chars().any(char::is_control));
        assert_eq!(session.unread(), session.output().len());
        assert!(session.unread() < 64 << 20, "a few bytes lead to a flood");
    }
    take(&mut session, &mut output, usize::MAX);
    read(&output, flags & 3 == 0);
    // It always comes to an end.
    session.end_of_input();
    for _ in 0..100_000 {
        session.finish();
        if session.wants_answer() {
            session.answer();
        }
        if session.next_command().is_none() && session.is_closed() {
            return;
        }
    }
    panic!("never closed");
}

fn take(session: &mut Session, output: &mut Vec<u8>, most: usize) {
    let count = session.output().len().min(most);
    output.extend_from_slice(&session.output()[..count]);
    session.consume(count);
}

/// What the daemon is told to do is about paths below the base directory, and can be said again.
fn check(command: &Command) {
    let Command::Transfer(transfer) = command else { return };
    let (path, names) = (&transfer.path, &transfer.targets);
    assert!(path.is_base() || RelPath::parse(path.as_bytes()).as_ref() == Ok(path));
    assert!(names.iter().all(|name| !name.chars().any(char::is_control)));
    let mut line = Vec::new();
    makuosan::console::words::push_quoted(&mut line, path.as_bytes());
    let words = makuosan::console::words::split(&line).unwrap();
    assert!(words.len() == 1 && words[0].bytes == path.as_bytes());
}

/// What a client sees: lines of text, and prompts.
fn read(mut output: &[u8], guarded: bool) {
    if guarded {
        let Some(rest) = output.strip_prefix(ASK) else {
            return assert!(ASK.starts_with(output), "not asked for the password");
        };
        // An answer to the password begins with a CR, to go over what was echoed.
        output = rest.strip_prefix(b"\r").unwrap_or(rest);
    }
    let text = std::str::from_utf8(output).unwrap_or_else(|error| {
        // Cut off within a character by the end of the input.
        std::str::from_utf8(&output[..error.valid_up_to()]).unwrap()
    });
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}
