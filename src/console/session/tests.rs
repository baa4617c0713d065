//! The session as a client sees it.

use super::arrived::{FULL, LINE_COST};
use super::*;
use crate::console::command::{Form, Scope};
use crate::console::reply::{HostReport, Progress, Total};
use crate::pattern::MAX_RULES;

fn session() -> Session {
    let mut session = Session::new(Offer::ALL);
    assert_eq!(taken(&mut session), "> ");
    session
}

fn taken(session: &mut Session) -> String {
    let text = String::from_utf8(session.output().to_vec()).unwrap();
    session.consume(text.len());
    assert_eq!(session.unread(), 0);
    text
}

/// What the session answers to lines that need no daemon.
fn answer(session: &mut Session, lines: &str) -> String {
    session.input(lines.as_bytes());
    assert_eq!(session.next_command(), None);
    taken(session)
}

#[test]
fn an_old_clients_dialogue() {
    let mut s = session();
    assert_eq!(answer(&mut s, "alive on\r\n"), "> ");
    assert_eq!(answer(&mut s, "loglevel 1\r\n"), "> ");
    s.input(b"send -r dir\r\n");
    assert!(matches!(s.next_command(), Some(Command::Transfer(send)) if send.scope == Scope::Tree));
    assert!(s.is_busy() && taken(&mut s).is_empty());
    assert_eq!(s.current(), "send -r dir");
    s.line(1, "update web1:dir/a");
    s.line(2, "skip   web1:dir/b");
    s.alive_tick();
    s.progress(&Progress::default());
    s.total(&Total::default());
    s.line(0, "error: No such file or directory dir/c");
    let said = "update web1:dir/a\nalive\nerror: No such file or directory dir/c\n";
    assert_eq!(taken(&mut s), said);
    s.finish();
    assert_eq!(taken(&mut s), "> ");
    assert!(!s.is_busy() && s.current().is_empty());
    s.input(b"quit\r\n");
    assert_eq!(s.next_command(), Some(Command::Quit));
    assert!(s.is_closed() && s.unread() == 0 && !s.wants_input());
}

#[test]
fn what_the_session_answers_by_itself() {
    let mut s = session();
    assert_eq!(answer(&mut s, "\n"), "> ");
    assert_eq!(answer(&mut s, "  \r\n"), "> ");
    assert_eq!(answer(&mut s, "nonsense x\n"), "mexec: command error 'nonsense'\n> ");
    assert_eq!(answer(&mut s, "\x1bx\n"), "mexec: command error '\\033x'\n> ");
    assert_eq!(answer(&mut s, "echo a \"> b\"\n"), "a \\076 b\n> ");
    assert_eq!(answer(&mut s, "echo \"> b\"\n"), "\\076 b\n> ");
    assert_eq!(answer(&mut s, "echo > b\n"), "\\076 b\n> ");
    assert_eq!(answer(&mut s, "echo\n"), "\n> ");
    assert_eq!(answer(&mut s, "alive\n"), "alive off\n> ");
    assert_eq!(answer(&mut s, "alive on\nalive\n"), "> alive on\n> ");
    assert_eq!(answer(&mut s, "loglevel 3\nloglevel\n"), "> loglevel 3\n> ");
    assert_eq!(answer(&mut s, "progress total\nprogress\n"), "> progress total\n> ");
    assert_eq!(answer(&mut s, "send \"x\n"), "error: a double quote is not closed\n> ");
    assert!(answer(&mut s, "help\n").starts_with("commands:\n"));
    assert!(answer(&mut s, "help send\n").starts_with("usage: send"));
    assert!(answer(&mut s, "send\n").starts_with("usage: send"));
}

#[test]
fn patterns_belong_to_the_connection() {
    let mut s = session();
    assert_eq!(answer(&mut s, "exclude add *.tmp\nexclude add \"a b\"\n"), "> > ");
    assert_eq!(answer(&mut s, "exclude add *.tmp\nexclude list\n"), "> *.tmp\na b\n> ");
    assert_eq!(answer(&mut s, "exclude del x\n"), "error: pattern not found x\n> ");
    assert_eq!(answer(&mut s, "exclude del *.tmp\n"), "> ");
    assert!(s.patterns().rules().eq([(false, &b"a b"[..])]));
    assert_eq!(answer(&mut s, "include add a\\ b\nexclude list\n"), "> a b\n+ a b\n> ");
    assert_eq!(answer(&mut s, "include add a\\ b\nexclude del a\\ b\n"), "> > ");
    assert!(s.patterns().rules().eq([(true, &b"a b"[..])]));
    assert_eq!(answer(&mut s, "exclude del a\\ b\n"), "error: pattern not found a b\n> ");
    let bad = "error: a pattern cannot end in a backslash x\\134\n> ";
    assert_eq!(answer(&mut s, "exclude add x\\\n"), bad);
    assert_eq!(answer(&mut s, "exclude clear\nexclude list\n"), "> > ");
    for n in 0..=MAX_RULES {
        let said = answer(&mut s, &format!("exclude add {n}\n"));
        assert_eq!(said.starts_with("error: at most"), n == MAX_RULES);
    }
}

#[test]
fn a_long_list_is_written_as_the_client_reads_it() {
    let mut s = session();
    for n in 0..20_000 {
        assert_eq!(answer(&mut s, &format!("exclude add some-name-{n}\n")), "> ");
    }
    s.input(b"exclude list\nexclude del some-name-19999\necho end\n");
    let mut all = String::new();
    while s.can_obey() {
        assert_eq!(s.next_command(), None);
        assert!(s.unread() < FULL_OUTPUT + 1_000 && !s.is_busy());
        all += &taken(&mut s);
    }
    let expected: String = (0..20_000).map(|n| format!("some-name-{n}\n")).collect();
    assert_eq!(all, expected + "> > end\n> ");
}

#[test]
fn the_patterns_of_all_clients_together_have_a_limit() {
    let budget = PatternBudget::default();
    let mut clients: Vec<Session> =
        (0..6).map(|_| Session::new(Offer::ALL).sharing(&budget)).collect();
    let full = |s: &mut Session| {
        (0..4_100).find(|n| {
            let line = format!("exclude add {n:0>1000}\n");
            answer(s, &line).contains("all clients together have too many patterns")
        })
    };
    clients.iter_mut().for_each(|s| drop(taken(s)));
    let refused: Vec<Option<u32>> = clients.iter_mut().map(full).collect();
    assert_eq!(refused[..4], [None; 4]);
    // Those who come too late still have room for a short list.
    assert!(refused[4..].iter().all(|n| n.is_some_and(|n| (10..200).contains(&n))), "{refused:?}");
    // What one gives up, or leaves behind, others may have.
    assert_eq!(answer(&mut clients[0], "exclude clear\n"), "> ");
    assert_eq!(full(&mut clients[4]), None);
    assert!(full(&mut clients[5]).is_some());
    clients.remove(1);
    assert_eq!(full(&mut clients[4]), None);
}

#[test]
fn early_lines_wait_their_turn() {
    let mut s = session();
    s.input(b"members\nstatus json\necho ");
    assert_eq!(s.next_command(), Some(Command::Members(Form::Table)));
    assert_eq!(s.next_command(), None);
    s.input(b"x\nquit\nsend y\n");
    s.lines(0, "a\nb\n");
    s.finish();
    assert_eq!(s.next_command(), Some(Command::Status(Form::Json)));
    s.finish();
    assert_eq!(s.next_command(), Some(Command::Quit));
    assert_eq!(taken(&mut s), "a\nb\n> > x\n> ");
    assert_eq!(s.next_command(), None);
}

#[test]
fn a_line_may_come_byte_by_byte() {
    let mut s = session();
    for byte in b"status\r\n" {
        assert_eq!(s.next_command(), None);
        s.input(&[*byte]);
    }
    assert_eq!(s.next_command(), Some(Command::Status(Form::Table)));
}

#[test]
fn a_line_has_a_limit_and_what_follows_is_unharmed() {
    let mut s = session();
    assert_eq!(answer(&mut s, "echo\n"), "\n> ");
    let fits = format!("echo {}\r\n", "x".repeat(MAX_LINE - 5));
    assert_eq!(answer(&mut s, &fits).len(), MAX_LINE - 5 + 3);
    for over in [1, 2, 3, MAX_LINE, 10 * MAX_LINE] {
        let long = format!("echo {}\r\necho y\n", "x".repeat(MAX_LINE - 5 + over));
        for piece in long.as_bytes().chunks(1_000) {
            s.input(piece);
        }
        assert_eq!(s.next_command(), None);
        assert_eq!(taken(&mut s), "error: a line has at most 8192 bytes\n> y\n> ");
    }
}

#[test]
fn lines_that_wait_are_bounded() {
    let mut s = session();
    s.input(b"members\n");
    assert!(s.next_command().is_some());
    let line = format!("echo {}\n", "x".repeat(8_000));
    let mut pieces = 0;
    while s.wants_input() {
        s.input(line.as_bytes());
        pieces += 1;
    }
    assert_eq!(pieces, FULL.div_ceil(8_005 + LINE_COST));
    s.finish();
    assert_eq!(s.next_command(), None);
    assert_eq!(taken(&mut s).matches("> ").count(), 1 + pieces);
    assert!(s.wants_input());
    // Empty and overlong lines take memory too.
    s.input(b"members\n");
    assert!(s.next_command().is_some());
    s.input(&vec![b'\n'; FULL / LINE_COST - 1]);
    assert!(s.wants_input());
    s.input(&[[b'x'; MAX_LINE + 2].as_slice(), b"\n"].concat());
    assert!(!s.wants_input());
    s.finish();
    assert_eq!(s.next_command(), None);
    assert!(s.arrived.is_empty() && s.wants_input());
}

#[test]
fn a_browser_commands_nothing() {
    let mut long = b"GET /".to_vec();
    long.extend(vec![b'x'; 3 * MAX_LINE]);
    let firsts: [&[u8]; 12] = [
        b"GET / HTTP/1.1",
        b"POST /x HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT a:443 HTTP/1.1",
        b"HEAD / HTTP/1.0",
        b"PUT /send HTTP/1.1",
        b"DELETE / HTTP/1.1",
        b"ANY / HTTP/1.1",
        b"GET",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x16\x03\x01",
        &long,
    ];
    for first in firsts {
        let mut s = session();
        s.input(first);
        s.input(b"\r\nHost: x\r\n\r\nsend -r\r\n");
        assert_eq!(s.next_command(), None, "{}", first.escape_ascii());
        assert!(s.is_closed());
        assert!(taken(&mut s).is_empty());
        s.input(b"send -r\r\n");
        assert_eq!(s.next_command(), None);
    }
    // Only the first line: a file may be called anything.
    let mut s = session();
    s.input(b"alive on\nsend x HTTP/1.1\n");
    assert_eq!(s.next_command(), None);
    assert!(taken(&mut s).contains("error: more than one path"));
    assert!(!s.is_closed());
}

#[test]
fn the_end_of_input_comes_after_what_waits() {
    let mut s = session();
    s.input(b"members\necho x\nsend y");
    assert!(s.next_command().is_some());
    s.end_of_input();
    assert!(!s.is_closed() && !s.wants_input());
    s.finish();
    assert_eq!(s.next_command(), None);
    assert_eq!(taken(&mut s), "> x\n> ");
    assert!(s.is_closed());
    let mut s = session();
    s.end_of_input();
    assert!(s.is_closed());
}

#[test]
fn watchers_get_what_they_asked_for() {
    let mut s = session();
    assert_eq!(answer(&mut s, "progress on\nloglevel 0\n"), "> > ");
    s.input(b"send x\n");
    assert!(s.next_command().is_some());
    s.progress(&Progress { hosts: 3, ..Progress::default() });
    s.total(&Total { hosts: 3, ..Total::default() });
    let text = taken(&mut s);
    assert!(text.starts_with("progress 0 - 0 - 3 0\ntotal hosts=3 "), "{text}");
    s.finish();
    assert_eq!(answer(&mut s, "progress total\n"), "> > ");
    s.input(b"send x\n");
    assert!(s.next_command().is_some());
    s.progress(&Progress::default());
    assert_eq!(s.unread(), 0);
    s.total(&Total::default());
    assert!(taken(&mut s).starts_with("total hosts=0 "));
    s.finish();
    assert_eq!(answer(&mut s, "progress off\nreport\nreport on\nreport\n").lines().count(), 3);
    s.input(b"send x\n");
    assert!(s.next_command().is_some() && s.reports());
    let name = crate::name::HostName::parse(b"web1").unwrap();
    let report = HostReport::new(name, [10, 0, 0, 1].into());
    s.host(&report);
    s.total(&Total::default());
    let text = taken(&mut s);
    assert!(text.starts_with(&format!("{}\ntotal hosts=0 ", report.emit())), "{text}");
    s.finish();
    assert_eq!(answer(&mut s, "report off\n"), "> > ");
    s.host(&report);
    assert_eq!(s.unread(), 0);
}

#[test]
fn a_client_that_does_not_read_gets_no_more_of_what_can_be_left_out() {
    let mut s = session();
    assert_eq!(answer(&mut s, "alive on\nprogress on\n"), "> > ");
    s.input(b"send x\n");
    assert!(s.next_command().is_some());
    for _ in 0..10_000 {
        s.alive_tick();
        s.progress(&Progress::default());
    }
    assert!(s.unread() < 2 * BEHIND);
    s.line(0, "error: counts");
    assert!(s.output().ends_with(b"error: counts\n"));
    let all = s.unread();
    s.consume(1);
    assert_eq!((s.unread(), s.output()[0]), (all - 1, b'l'));
    s.consume(all);
    assert_eq!(s.unread(), 0);
    // Nothing but a command at work is alive.
    s.finish();
    taken(&mut s);
    s.alive_tick();
    assert_eq!(s.unread(), 0);
}

#[test]
fn no_text_makes_a_prompt_or_two_lines() {
    let mut s = session();
    s.input(b"members\n");
    assert!(s.next_command().is_some());
    s.line(0, "> x\ny\u{9b}");
    assert_eq!(taken(&mut s), "\\076 x\\012y\\302\\233\n");
}

#[test]
fn one_client_too_many_is_told_so() {
    let mut s = Session::refused();
    assert!(s.is_closed());
    assert_eq!(taken(&mut s), "error: too many clients\n");
}

#[test]
fn the_password_comes_first() {
    let secret = Secret::new(b"open sesame");
    let guarded = || {
        let mut s = Session::guarded(Offer::ALL, secret);
        assert_eq!(taken(&mut s), "password: \x1b]E");
        assert!(!s.wants_answer() && s.wants_input() && !s.is_busy());
        s
    };
    let mut s = guarded();
    s.input(b"open sesame\r\nmembers\n");
    assert_eq!(s.next_command(), None);
    assert!(s.wants_answer() && s.unread() == 0);
    assert_eq!(s.answer(), Some(true));
    assert_eq!(taken(&mut s), "\r> ");
    assert!(!s.wants_answer() && s.answer().is_none());
    assert_eq!(s.next_command(), Some(Command::Members(Form::Table)));
    s.finish();
    assert_eq!(taken(&mut s), "> ");
    assert!(s.arrived.is_empty());

    let long = [b'x'; 3 * MAX_LINE];
    for guess in [&b""[..], b"open", b" open sesame", b"open sesame ", b"GET / HTTP/1.1", &long] {
        let mut s = guarded();
        s.input(guess);
        assert!(!s.wants_answer());
        s.input(b"\nopen sesame\nmembers\n");
        assert_eq!(s.answer(), Some(false));
        assert_eq!(taken(&mut s), "\rsorry.\n");
        assert!(s.is_closed() && !s.wants_answer());
        s.input(b"open sesame\n");
        assert_eq!((s.next_command(), s.answer(), s.unread()), (None, None, 0));
    }
    // A client that goes away without a password, and one that does not wait for the answer.
    let mut s = guarded();
    s.input(b"open");
    s.end_of_input();
    assert!(s.is_closed());
    let mut s = guarded();
    s.input(b"open sesame\nmembers\n");
    s.end_of_input();
    assert!(s.wants_answer() && !s.is_closed() && s.answer() == Some(true));
    assert!(s.next_command().is_some());
    s.finish();
    assert_eq!(s.next_command(), None);
    assert!(s.is_closed());
}
