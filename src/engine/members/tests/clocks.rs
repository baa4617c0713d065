//! What HELLOs say of clocks.

use super::*;

/// A wall clock.
const NOW: u64 = 1_795_804_200_000;

fn stamps(members: &mut Members) -> Vec<Stamp> {
    let stamp = |event| match event {
        Event::Height(stamp) => Some(stamp),
        _ => None,
    };
    events(members).into_iter().filter_map(stamp).collect()
}

#[test]
fn hellos_tell_the_clock_as_it_is_then() {
    let mut members = started();
    for later in [1, 2] {
        members.set_clock(Stamp::at(NOW + later), NOW + 10 * later);
        members.announce(secs(later));
        let (_, Packet::Hello(hello)) = sent(&mut members).pop().unwrap() else { panic!() };
        assert_eq!((hello.height, hello.wall), (Stamp::at(NOW + later), NOW + 10 * later));
    }
}

#[test]
fn a_members_higher_stamp_is_to_be_adopted() {
    for mut members in [started(), unkeyed()] {
        members.set_clock(Stamp::at(NOW), NOW);
        let says = |height| Hello { height: Stamp::at(height), ..plain() };
        // A stranger's is nothing.
        members.hello(secs(2), NodeId(2), addr(2), 1, &Hello { asks: true, ..says(NOW + 9) });
        assert_eq!(stamps(&mut members), []);
        let answer = hellos_to(&mut members, to(2)).pop().unwrap();
        let echo = Hello { echo: answer.challenge, ..says(NOW + 7) };
        members.hello(secs(2), NodeId(2), addr(2), 2, &echo);
        assert_eq!(stamps(&mut members), [Stamp::at(NOW + 7)]);
        members.set_clock(Stamp::at(NOW + 7), NOW);
        for (counter, height) in [(3, NOW), (4, NOW + 7), (5, NOW + 8)] {
            members.hello(secs(3), NodeId(2), addr(2), counter, &says(height));
        }
        assert_eq!(stamps(&mut members), [Stamp::at(NOW + 8)]);
        // From elsewhere, and again.
        members.hello(secs(3), NodeId(2), addr(3), 6, &says(NOW + 9));
        members.hello(secs(3), NodeId(2), addr(2), 5, &says(NOW + 9));
        assert_eq!(stamps(&mut members), []);
    }
}
